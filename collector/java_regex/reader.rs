//! The characters of a pattern, one after another, and what an escape stands for.

use super::Error;

/// Reads the characters of a pattern.
pub(super) struct Reader<'p> {
    characters: &'p [char],
    next: usize,
}

impl<'p> Reader<'p> {
    pub fn new(characters: &'p [char]) -> Reader<'p> {
        Reader { characters, next: 0 }
    }

    pub fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.next += 1;
        Some(next)
    }

    pub fn peek(&self) -> Option<char> {
        self.characters.get(self.next).copied()
    }

    pub fn peek_second(&self) -> Option<char> {
        self.characters.get(self.next + 1).copied()
    }

    /// Takes this character, if it is the next.
    pub fn takes(&mut self, character: char) -> bool {
        let takes = self.peek() == Some(character);
        self.next += usize::from(takes);
        takes
    }

    pub fn takes_all(&mut self, text: &str) -> bool {
        let rest = &self.characters[self.next..];
        let takes = text.chars().count() <= rest.len()
            && text.chars().zip(rest).all(|(wanted, &there)| wanted == there);
        if takes {
            self.next += text.chars().count();
        }
        takes
    }

    /// The place of the next character.
    pub fn at(&self) -> usize {
        self.next + 1
    }

    pub fn syntax(&self, what: &'static str) -> Error {
        Error::Syntax { what, at: self.at().min(self.characters.len().max(1)) }
    }

    pub fn unsupported(&self, what: &str, at: usize) -> Error {
        Error::Unsupported { what: what.to_owned(), at }
    }

    /// What stands between `\Q` and `\E`, or the end.
    pub fn quoted(&mut self) -> Vec<char> {
        let mut quoted = Vec::new();
        while !self.takes_all(r"\E") {
            let Some(next) = self.next() else { break };
            quoted.push(next);
        }
        quoted
    }

    /// So many hexadecimal digits.
    fn hexadecimal(&mut self, digits: usize) -> Option<u32> {
        let digits = self.characters.get(self.next..self.next + digits)?;
        let number =
            digits.iter().try_fold(0, |number, digit| Some(number * 16 + digit.to_digit(16)?))?;
        self.next += digits.len();
        Some(number)
    }

    /// The character that an escape stands for, behind its first letter.
    pub fn escape(&mut self, letter: char, at: usize) -> Result<char, Error> {
        let number = match letter {
            't' => return Ok('\t'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            'f' => return Ok('\x0C'),
            'a' => return Ok('\x07'),
            'e' => return Ok('\x1B'),
            'c' => {
                let control = self.next().filter(char::is_ascii);
                control.map(|control| u32::from(control) ^ 64)
            }
            '0' => self.octal(),
            'x' if self.takes('{') => {
                let end = self.characters[self.next..].iter().position(|&c| c == '}');
                let number = end.and_then(|digits| self.hexadecimal(digits));
                number.filter(|_| self.takes('}'))
            }
            'x' => self.hexadecimal(2),
            'u' => match self.hexadecimal(4) {
                Some(high @ 0xd800..0xdc00) if self.takes_all(r"\u") => {
                    let low = self.hexadecimal(4).filter(|low| (0xdc00..0xe000).contains(low));
                    low.map(|low| 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                }
                number => number,
            },
            _ if letter.is_ascii_alphabetic() => {
                return Err(self.unsupported(&format!(r"\{letter}"), at));
            }
            _ => return Ok(letter),
        };
        number.and_then(char::from_u32).ok_or(Error::Syntax { what: "an escape is none", at })
    }

    /// Up to three octal digits, up to 377.
    fn octal(&mut self) -> Option<u32> {
        let mut number = None;
        for _ in 0..3 {
            let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else { break };
            let longer = number.unwrap_or(0) * 8 + digit;
            if longer > 0o377 {
                break;
            }
            number = Some(longer);
            self.next += 1;
        }
        number
    }
}

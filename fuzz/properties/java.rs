//! `java.util.Properties.load`, as its documentation has it.

/// Every key and value with the line on which they begin; none where Java refuses the text, or makes
/// half of a character of it.
pub fn load(text: &str) -> Option<Vec<(String, String, usize)>> {
    let all = logical_lines(text).into_iter().filter_map(|(line, number)| {
        let (key, value) = cut(&line)?;
        Some(unescaped(key).zip(unescaped(value)).map(|(key, value)| (key, value, number)))
    });
    all.collect()
}

fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\x0c')
}

/// The lines that count, those that go on with what they go on with.
fn logical_lines(text: &str) -> Vec<(String, usize)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut natural = text.split('\n').zip(1..);
    let mut all = Vec::new();
    while let Some((line, number)) = natural.next() {
        let mut whole = line.trim_start_matches(is_space).to_owned();
        if whole.is_empty() || whole.starts_with(['#', '!']) {
            continue;
        }
        while whole.chars().rev().take_while(|char| *char == '\\').count() % 2 == 1 {
            whole.pop();
            let Some((more, _)) = natural.next() else { break };
            whole.push_str(more.trim_start_matches(is_space));
        }
        // What has nothing but the sign that it goes on is an empty line.
        if !whole.is_empty() {
            all.push((whole, number));
        }
    }
    all
}

/// Key and value, as they are written.
fn cut(line: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = line.find(|char| {
        let ends = !is_escaped && (is_space(char) || matches!(char, '=' | ':'));
        is_escaped = char == '\\' && !is_escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_space);
    let value =
        rest.strip_prefix(['=', ':']).map_or(rest, |rest| rest.trim_start_matches(is_space));
    Some((key, value))
}

fn unescaped(text: &str) -> Option<String> {
    let mut chars = text.chars();
    // As Java has it, in halves of characters.
    let mut halves = Vec::new();
    while let Some(char) = chars.next() {
        let char = match char {
            '\\' => match chars.next()? {
                't' => '\t',
                'n' => '\n',
                'f' => '\x0c',
                'r' => '\r',
                'u' => {
                    let mut number = 0;
                    for _ in 0..4 {
                        number = number * 16 + chars.next()?.to_digit(16)?;
                    }
                    halves.push(number as u16);
                    continue;
                }
                other => other,
            },
            char => char,
        };
        halves.extend_from_slice(char.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&halves).ok()
}

//! Java itself is asked, once for a table and once for patterns by chance. What no test here can catch is a
//! construct that neither holds.

use std::io::Write as _;
use std::process::{Command, Stdio};

use testing::random::Random;

use super::*;

/// A pattern, and texts.
const TABLE: &[(&str, &[&str])] = &[
    ("", &["", "ab"]),
    ("a*", &["baac", ""]),
    (r"(\d+)-(\w+)", &["x 12-ab_", "\u{661}-a", "1-\u{e9}"]),
    (r"\s+|\S", &[" \u{a0}\t\u{b}", "\u{85}"]),
    (r"[\s\d]+[^\w\s]", &["1 2-", "1 \u{e9}"]),
    (r"\h\H\v\V", &["\u{3000}a\u{2028}b", " a\nb"]),
    (r"a\Rb", &["a\r\nb", "a\nb", "a\r\rb", "a\u{85}b"]),
    (r"\R\n", &["\r\n", "\n\n"]),
    (r"\R*\W", &["k\n\r\n", "\r\n"]),
    (r"\R?\n", &["\r\n", "\n"]),
    ("^a.c$", &["abc", "abc\n", "abc\r\n", "abc\n\n", "a\nc", "a\u{85}c", "abc\u{2028}", "abc\r"]),
    ("(?s)^a.c$", &["a\nc", "a\nc\n"]),
    ("(?d)^a.c$", &["a\rc", "a\rc\r", "a\rc\n"]),
    ("(?m)^a$", &["a", "b\na\nb", "b\r\na\r\n", "\na", "a\u{85}a", "", "\n"]),
    ("(?m)^", &["", "a\n", "a\r\nb", "\n\n", "a\rb"]),
    ("(?m)$", &["", "a\n", "a\r\nb", "\n\n", "a\rb"]),
    ("(?md)^.*$", &["a\rb\nc", "\n"]),
    ("$", &["", "\n", "\r\n", "a\n", "a\r", "a\n\r", "a\u{2029}"]),
    (r"\Z", &["a\n", "a\r\n"]),
    (r"a\z", &["a", "a\n"]),
    (r"\Aa", &["a", "\na"]),
    (r"\bfoo\b", &["a foo b", "\u{4e2d}foo", "foo\u{e9}", "foo-", "foo_"]),
    (r"\B.\B", &["abc", "a\u{e9}b", "\u{4e2d}\u{6587}\u{4e2d}"]),
    ("(?i)stra\u{df}e k", &["STRA\u{df}E K", "STRASSE K", "stra\u{df}e \u{212a}"]),
    ("(?i)\u{e9}", &["\u{c9}", "\u{e9}"]),
    ("(?i)[a-c]x[^y]", &["BXz", "bxY", "\u{17f}xz"]),
    ("(?i)[s-z&&[^t]]+", &["SUt", "\u{17f}"]),
    ("(?i:a)b", &["Ab", "AB"]),
    ("a(?i)b|c", &["aB", "C", "A"]),
    ("((?i)a)b", &["Ab", "AB"]),
    ("(?i)a(?-i)b", &["Ab", "AB"]),
    ("[a-z&&[^aeiou]]+", &["aeixyz"]),
    ("[a-z&&def]+", &["abcdefg"]),
    ("[a[bc]d]+", &["abcde"]),
    ("[]a]+", &["]a]"]),
    ("[^]a]+", &["]abc"]),
    ("[a^]+[-b]+[c-]+", &["a^-b-c"]),
    (r"[a-c-e]+[\]\\]", &["ab-e]", r"b\"]),
    (r"[\Qa-c\E]+", &["a-c", "b"]),
    (r"[\p{Alpha}&&\p{ASCII}]+\p{Punct}\P{Digit}", &["ab!x", "ab\u{e9}"]),
    (r"\p{L}\pN\p{Lu}\p{IsAlphabetic}", &["\u{e9}1\u{c9}a", "a\u{2160}Zz"]),
    (r"\p{IsHan}+\p{script=Latin}", &["\u{4e2d}\u{6587}a", "ab"]),
    (r"[\p{Space}\p{XDigit}]+\p{Cntrl}?[\p{Graph}\p{Blank}]*", &["fF0 \t\x01x"]),
    (r"\x41\u0042\x{43}\0104\t\cA\e\a\f", &["ABCD\t\x01\x1b\x07\x0c"]),
    ("\\u4e2d\u{1F600}\\uD83D\\uDE00", &["\u{4e2d}\u{1F600}\u{1F600}"]),
    (r"\Qa.b\E+c", &["a.bbc", "axbc"]),
    (r"\Q", &["a"]),
    (r"a\.b\-c\ d\/e\<", &["a.b-c d/e<"]),
    (r"(a)(b)?\1", &["aba", "aa", "ab"]),
    (r"(?<x>a+)-\k<x>", &["aa-a", "aa-aa"]),
    (r"(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)\10\11", &["abcdefghijja1", "abcdefghij"]),
    ("a++b|a*+a|a?+a", &["aaab", "aaa"]),
    ("(?>a|ab)c", &["abc", "ac"]),
    ("(?<=a)b(?!c)(?=d)", &["abd", "abcd"]),
    ("(?<!a|bb)c", &["ac", "bbc", "bc"]),
    ("x{2}y{1,}z{0,2}?", &["xxyyzz", "xy"]),
    ("(a|b)*c|(?:ab){2,3}", &["ababc", "ababab"]),
    ("(?:(a)|b)*", &["ab", "ba"]),
    ("(ab?)+?b", &["abab", "abb"]),
    ("a||b|", &["b"]),
    ("^*a", &["a", "ba"]),
    ("]}", &["]}"]),
    (
        r"^(\S+) (\S+) (\S+) \[([\w:/]+\s[+\-]\d{4})\] \x22(\S+) (\S+) (\S+)\x22 (\d{3}) (\d+|-)",
        &["127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /a.gif HTTP/1.0\" 200 2326"],
    ),
];

/// What is no pattern, or is refused, with a word of what is said.
const REFUSED: &[(&str, &str)] = &[
    ("*a", "quantifier"),
    ("{\"a\"", "{"),
    ("a{2,1}", "number of times"),
    ("a**", "behind another"),
    ("(a", "not closed"),
    ("a)", "closes nothing"),
    ("[a", "not closed"),
    ("[z-a]", "before it begins"),
    (r"a\", "last backslash"),
    (r"\y", r"\y is not supported"),
    (r"\X", r"\X is not supported"),
    (r"\G", r"\G is not supported"),
    (r"\b{g}", r"\b{g} is not supported"),
    (r"\p{InGreek}", r"\p{InGreek} is not supported"),
    (r"\p{javaLowerCase}", "javaLowerCase"),
    (r"(?i)\p{Lower}", r"\p{Lower} (with (?i)) is not supported"),
    ("(?x)a b", "(?x) is not supported"),
    ("(?u)a", "(?u) is not supported"),
    ("(?U)a", "(?U) is not supported"),
    ("[^a&&b]", "negated class"),
    ("[^a[b]]", "negated class"),
    ("[a&&]", "&&"),
    ("[a&&[b]c]", "&&"),
    (r"(?i)(a)\1", "back reference with (?i)"),
    (r"\1(a)", "not there"),
    ("(a*)*", "may match nothing"),
    ("(?:|a)+", "may match nothing"),
    ("(?<=(a))b", "(?<="),
    ("(?=(a))b", "(?="),
    ("(?>(a))b", "(?>"),
    (r"(a\R)+", r"\R"),
    ("(a)++", "possessive"),
    ("(?!(a))b", "(?!"),
    ("(?<1a>b)", "name"),
    ("(?<a>b)(?<a>c)", "one name"),
    (r"\xZZ", "escape"),
    (r"\uD800", "escape"),
];

/// What our side says, in Java's words.
fn ours(pattern: &JavaRegex, text: &str, by: &str) -> String {
    let by = Replacement::parse(by, pattern).unwrap();
    let mut answer = format!("{} ", pattern.matches(text));
    match pattern.captures(text, 0) {
        None => answer += "none",
        Some(found) => {
            answer += &text[..found.range().start].encode_utf16().count().to_string();
            for group in 0..=pattern.groups() {
                answer +=
                    &found.get(group).map_or(" -".to_owned(), |text| format!(" '{}", hex(text)));
            }
        }
    }
    assert_eq!(pattern.find(text), pattern.captures(text, 0).is_some(), "{pattern} {text:?}");
    let replaced = pattern.replace_all(text, &by);
    answer += &format!(" | {} |", hex(replaced.as_deref().unwrap_or(text)));
    for piece in pattern.split(text) {
        answer += &format!(" '{}", hex(piece));
    }
    answer
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// What Java says of patterns, texts and replacements; none where there is no Java.
fn javas(asked: &[(String, String, String)]) -> Option<Vec<String>> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/java_regex/Answers.java");
    let mut java = Command::new("java");
    java.args(["-Xss16m", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = java.spawn() else {
        eprintln!("skipped: there is no java");
        return None;
    };
    let mut lines = String::new();
    for (pattern, text, by) in asked {
        lines += &format!("{}\t{}\t{}\n", hex(pattern), hex(text), hex(by));
    }
    let mut stdin = child.stdin.take().unwrap();
    let writes = std::thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writes.join().unwrap();
    assert!(output.status.success());
    let answers: Vec<_> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), asked.len());
    Some(answers)
}

#[test]
fn what_java_finds_is_found() {
    let mut asked = Vec::new();
    for (pattern, texts) in TABLE {
        let parsed = JavaRegex::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let by = if parsed.groups() > 0 { r"<$1\$$0>" } else { "<$0>" };
        for text in *texts {
            asked.push(((*pattern).to_owned(), (*text).to_owned(), by.to_owned()));
        }
    }
    let Some(answers) = javas(&asked) else { return };
    let mut wrong = Vec::new();
    for ((pattern, text, by), java) in asked.iter().zip(answers) {
        let ours = ours(&JavaRegex::parse(pattern).unwrap(), text, by);
        if ours != java {
            wrong.push(format!("{pattern:?} {text:?}\n  ours: {ours}\n  java: {java}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A pattern by chance, of what may stand in one.
fn pattern(random: &mut Random, depth: u32) -> String {
    const ATOMS: &[&str] = &[
        "a",
        "b",
        "k",
        "-",
        "\u{e9}",
        "\u{4e2d}",
        ".",
        "^",
        "$",
        r"\b",
        r"\B",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        r"\h",
        r"\v",
        r"\R",
        r"\Z",
        r"\z",
        r"\A",
        "[ab]",
        "[^a]",
        "[a-k&&[^b]]",
        r"[\w-]",
        r"[^\s\d]",
        r"\p{Alpha}",
        r"\p{L}",
        r"\P{Lu}",
        r"\n",
        r"\x41",
        r"\Qa.\E",
        "(?i)",
        "(?m)",
        "(?s)",
        "(?d)",
        "(?-i)",
    ];
    const TIMES: &[&str] =
        &["*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,2}?", "*+", "++", "?+"];
    let mut pattern = String::new();
    for _ in 0..=random.below(3) {
        if random.below(6) == 0 {
            pattern.push('|');
        }
        if depth > 0 && random.below(4) == 0 {
            const OPENS: &[&str] =
                &["(", "(", "(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?s-i:"];
            pattern += *random.one_of(OPENS);
            pattern += &self::pattern(random, depth - 1);
            pattern.push(')');
        } else {
            pattern += *random.one_of(ATOMS);
        }
        if random.below(3) == 0 {
            pattern += *random.one_of(TIMES);
        }
    }
    if random.below(12) == 0 {
        pattern += r"\1";
    }
    pattern
}

#[test]
fn what_java_finds_by_chance_is_found() {
    const TEXTS: &[&str] = &[
        "a", "b", "K", "k", "A", "-", "\n", "\r", "\r\n", "\u{85}", "\u{2028}", " ", "1", "_",
        "\u{e9}", "\u{c9}", "\u{4e2d}", "\u{212a}", ".",
    ];
    let many = if testing::all() { 60_000 } else { 900 };
    let seed = u64::from(std::process::id());
    let mut random = Random::new(seed);
    let (mut asked, mut parsed, mut refused) = (Vec::new(), Vec::new(), 0);
    while asked.len() < many {
        let pattern = pattern(&mut random, 2);
        let Ok(understood) = JavaRegex::parse(&pattern) else {
            refused += 1;
            continue;
        };
        let by = if understood.groups() > 0 { "<$1>" } else { "<$0>" };
        for _ in 0..3 {
            let length = random.below(6);
            let text: String = (0..length).map(|_| *random.one_of(TEXTS)).collect();
            asked.push((pattern.clone(), text, by.to_owned()));
        }
        parsed.push(understood);
    }
    assert!(refused < asked.len(), "{refused} patterns are refused, of {}", asked.len() / 3);
    let Some(answers) = javas(&asked) else { return };
    let mut wrong = Vec::new();
    for (nth, ((pattern, text, by), java)) in asked.iter().zip(answers).enumerate() {
        let ours = ours(&parsed[nth / 3], text, by);
        // What Java refuses, Flume would not have started with.
        if java != "refused" && ours != java {
            wrong.push(format!("{pattern:?} {text:?}\n  ours: {ours}\n  java: {java}"));
        }
    }
    let first = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "seed {seed}: {} of {}:\n{first}", wrong.len(), asked.len());
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (pattern, said) in REFUSED {
        let error = JavaRegex::parse(pattern).map(drop).expect_err(pattern).to_string();
        assert!(error.contains(said), "{pattern}: {error}");
    }
}

#[test]
fn replacements_are_javas() {
    let pattern = JavaRegex::parse("(a)(?<n>b)?").unwrap();
    let replaced = |by: &str| {
        let by = Replacement::parse(by, &pattern)?;
        Ok(pattern.replace_all("xab-a", &by).unwrap())
    };
    assert_eq!(replaced("[$1$2]"), Ok("x[ab]-[a]".to_owned()));
    assert_eq!(replaced("${n}$13"), Ok("xba3-a3".to_owned()));
    assert_eq!(replaced(r"\$1\\"), Ok(r"x$1\-$1\".to_owned()));
    for (by, said) in [
        ("$3", "no group 3"),
        ("${x}", "no group \"x\""),
        ("${n", "does not end"),
        ("$", "$"),
        ("$x", "$"),
        ("\\", "backslash"),
    ] {
        let error: Error = replaced(by).unwrap_err();
        assert!(error.to_string().contains(said), "{by}: {error}");
    }
    assert_eq!(pattern.replace_all("xyz", &Replacement::parse("", &pattern).unwrap()), None);
}

#[test]
fn a_text_that_takes_too_long_is_one_without_a_match() {
    let pattern = JavaRegex::parse(r"(?=(?:x+x+)+y)").unwrap();
    assert!(!pattern.find(&"x".repeat(60)));
}

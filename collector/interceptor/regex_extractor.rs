//! Puts what the groups of a pattern match in a body into headers.

mod joda;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use self::joda::Format;
use crate::charset;
use crate::event::{Event, Text};
use crate::java_regex::JavaRegex;
use crate::keys::Keys;

const CLASSES: &str = "org.apache.flume.interceptor.";

/// How often it is said that a date is none.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Sets headers to what stands in the body.
#[derive(Debug)]
pub struct RegexExtractor {
    /// None where it could not be read: then the source is not started.
    regex: Option<JavaRegex>,
    /// One for each group, from the first.
    serializers: Vec<(Text, Serializer)>,
    said: Mutex<Option<Instant>>,
}

/// What a header gets of what a group has matched.
#[derive(Debug)]
enum Serializer {
    /// The text.
    PassThrough,
    /// The time in milliseconds since 1970.
    Millis(Format),
}

impl RegexExtractor {
    /// Reads its keys.
    pub fn read(keys: &Keys<'_>) -> RegexExtractor {
        let pattern = keys.required("regex");
        let regex = super::pattern(keys, "regex", &pattern);
        let names = keys.words("serializers");
        if names.is_empty() && !keys.is_given("serializers") {
            keys.required("serializers");
        }
        let serializers: Vec<_> = names.iter().filter_map(|name| serializer(keys, name)).collect();
        if let Some(regex) = &regex
            && names.len() > regex.groups()
        {
            keys.doubtful(
                "serializers",
                format_args!(
                    "they are {}, and the pattern has {} groups",
                    names.len(),
                    regex.groups()
                ),
            );
        }
        RegexExtractor { regex, serializers, said: Mutex::default() }
    }

    fn say(&self, text: &str, header: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            *said = Some(Instant::now());
            log::warn!(
                "the header {header} is not set, by {text:?}: it is no date as the pattern has it"
            );
        }
    }
}

fn serializer(keys: &Keys<'_>, name: &str) -> Option<(Text, Serializer)> {
    let part = |key: &str| format!("serializers.{name}.{key}");
    let millis = format!("{CLASSES}RegexExtractorInterceptorMillisSerializer");
    let through = format!("{CLASSES}RegexExtractorInterceptorPassThroughSerializer");
    let kind = keys.choice(
        &part("type"),
        "DEFAULT",
        &[("DEFAULT", false), (&through, false), (&millis, true)],
    );
    let header = keys.required(&part("name"));
    let serializer = if kind {
        let key = part("pattern");
        let pattern = keys.required(&key);
        match Format::parse(&pattern) {
            Ok(format) => Serializer::Millis(format),
            Err(_) if pattern.is_empty() => return None,
            Err(error) => {
                keys.mistaken(&key, error);
                return None;
            }
        }
    } else {
        Serializer::PassThrough
    };
    Some((header.into(), serializer))
}

impl super::Interceptor for RegexExtractor {
    fn intercept(&self, event: &mut Event) -> bool {
        let Some(regex) = &self.regex else { return true };
        let text = charset::text(&event.body);
        let Some(found) = regex.captures(&text, 0) else { return true };
        for (group, (header, serializer)) in (1..=regex.groups()).zip(&self.serializers) {
            let Some(text) = found.get(group) else { continue };
            match serializer {
                Serializer::PassThrough => event.headers.set(header.clone(), text),
                Serializer::Millis(format) => match format.milliseconds(text) {
                    Some(milliseconds) => {
                        event.headers.set(header.clone(), milliseconds.to_string());
                    }
                    // Flume's source would end here, again and again.
                    None => self.say(text, header),
                },
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::Interceptor;
    use super::*;

    #[test]
    fn groups_become_headers() {
        let format = Format::parse("yyyy-MM-dd HH:mm:ss Z").unwrap();
        let extractor = RegexExtractor {
            regex: Some(JavaRegex::parse(r"^(\S+ \S+ \S+) (?:u=(\w+) )?(\w+)").unwrap()),
            serializers: vec![
                ("timestamp".into(), Serializer::Millis(format)),
                ("user".into(), Serializer::PassThrough),
                ("word".into(), Serializer::PassThrough),
            ],
            said: Mutex::default(),
        };
        let mut event = Event::new("2015-10-16 17:38:59 +0800 hello");
        assert!(extractor.intercept(&mut event));
        let all: Vec<_> = event.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(all, [("timestamp", "1444988339000"), ("word", "hello")]);
        let mut event = Event::new("2015-13-16 17:38:59 +0800 u=a b");
        assert!(extractor.intercept(&mut event));
        let all: Vec<_> = event.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(all, [("user", "a"), ("word", "b")]);
    }
}

//! The flows: from a source through a channel each to its sinks.

use crate::readers::Form;

/// A source with its sinks. The file's names are NAME for the source, and NAME-1, NAME-2 … for the sinks and
/// their channels. In keys `@` is NAME, and `#` that of the sink.
pub struct Flow {
    pub name: &'static str,
    pub source: &'static str,
    pub sinks: &'static [Sink],
}

/// A sink, and the channel before it.
pub struct Sink {
    pub form: Form,
    pub keys: &'static str,
    /// How many events are delivered by it: Flume's, and ours.
    pub events: [u64; 2],
}

const fn roll(events: u64, form: Form) -> Sink {
    let keys = match form {
        Form::HeaderAndText => "sink.serializer = HEADER_AND_TEXT",
        Form::Avro => "sink.serializer = avro_event",
        _ => "sink.serializer = text",
    };
    Sink { form, keys, events: [events; 2] }
}

const fn differs(events: [u64; 2]) -> Sink {
    Sink { events, ..roll(0, Form::Avro) }
}

const fn hdfs(events: u64, form: Form, keys: &'static str) -> Sink {
    Sink { form, keys, events: [events; 2] }
}

pub const FLOWS: &[Flow] = &[
    Flow {
        name: "lines",
        source: r"
            type = spooldir
            spoolDir = ${env:PLACE}/in/@
            consumeOrder = oldest
            includePattern = ^.*\\.log$
            ignorePattern = ^no-.*$
            basenameHeader = true
            fileHeader = true
            fileHeaderKey = path
            batchSize = 3
            deserializer.maxLineLength = 20",
        sinks: &[roll(25, Form::Text), roll(25, Form::HeaderAndText), roll(25, Form::Avro)],
    },
    Flow {
        name: "cut",
        source: r"
            type = spooldir
            spoolDir = ${env:PLACE}/in/@
            bufferMaxLineLength = 5
            deserializer.maxLineLength = 7",
        sinks: &[differs([9, 7])],
    },
    Flow {
        name: "youngest",
        source: r"
            type = spooldir
            spoolDir = ${env:PLACE}/in/@
            consumeOrder = youngest
            fileSuffix = .done
            trackerDir = ${env:PLACE}/tracker-@
            basenameHeader = true
            basenameHeaderKey = name
            inputCharset = ISO-8859-1
            deserializer.outputCharset = ISO-8859-1",
        sinks: &[roll(3, Form::Avro)],
    },
    Flow {
        name: "latin",
        source: r"
            type = spooldir
            spoolDir = ${env:PLACE}/in/@
            deletePolicy = immediate
            inputCharset = ISO-8859-1
            deserializer.maxLineLength = 6",
        sinks: &[roll(5, Form::Avro)],
    },
    Flow {
        name: "replace",
        source: r"
            type = spooldir
            spoolDir = ${env:PLACE}/in/@
            decodeErrorPolicy = REPLACE",
        sinks: &[roll(16, Form::Avro)],
    },
    Flow {
        name: "ignore",
        source: r"
            type = spooldir
            spoolDir = ${env:PLACE}/in/@
            decodeErrorPolicy = IGNORE",
        sinks: &[roll(16, Form::Avro)],
    },
    Flow {
        name: "end",
        source: r"
            type = spooldir
            spoolDir = ${env:PLACE}/in/@
            decodeErrorPolicy = REPLACE",
        sinks: &[roll(1, Form::Avro)],
    },
    Flow {
        name: "chain",
        source: r"
            type = http
            bind = 127.0.0.1
            port = ${env:PORT_1}
            interceptors = site stage what debug kinds digits name list pattern
            interceptors.site.type = static
            interceptors.site.key = site
            interceptors.site.value = paris
            interceptors.stage.type = static
            interceptors.stage.key = stage
            interceptors.stage.value = test
            interceptors.stage.preserveExisting = false
            interceptors.what.type = regex_extractor
            interceptors.what.regex = ^(\\S+ \\S+) kind=(\\w+) user=(\\S*)
            interceptors.what.serializers = s1 s2 s3
            interceptors.what.serializers.s1.type = org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer
            interceptors.what.serializers.s1.pattern = yyyy-MM-dd HH:mm:ss,SSS
            interceptors.what.serializers.s1.name = timestamp
            interceptors.what.serializers.s2.name = kind
            interceptors.what.serializers.s3.type = DEFAULT
            interceptors.what.serializers.s3.name = user
            interceptors.debug.type = regex_filter
            interceptors.debug.regex = DEBUG$
            interceptors.debug.excludeEvents = true
            interceptors.kinds.type = regex_filter
            interceptors.kinds.regex = kind=
            interceptors.digits.type = search_replace
            interceptors.digits.searchPattern = (\\d{2})-(\\d{2}) (?<hour>\\d{2})
            interceptors.digits.replaceString = $2.$1 ${hour}h\\$
            interceptors.name.type = remove_header
            interceptors.name.withName = secret
            interceptors.list.type = remove_header
            interceptors.list.fromList = tmp1 , tmp2,tmp3
            interceptors.pattern.type = org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder
            interceptors.pattern.matching = x-.*
            selector.type = multiplexing
            selector.header = kind
            selector.mapping.web = @-1 @-2
            selector.mapping.app = @-3
            selector.default = @-4
            selector.optional.web = @-5 @-6
            selector.optional.app = @-6
            selector.optional.other = @-6",
        sinks: &[
            hdfs(
                9,
                Form::Text,
                "hdfs.path = ${env:PLACE}/out/#/%{kind}/%y-%m-%d/%H%M
                 hdfs.fileType = DataStream
                 hdfs.timeZone = Asia/Shanghai
                 hdfs.round = true
                 hdfs.roundValue = 10
                 hdfs.roundUnit = minute
                 hdfs.rollCount = 2
                 hdfs.rollSize = 0",
            ),
            hdfs(
                9,
                Form::Gzip,
                "hdfs.path = ${env:PLACE}/out/#/%Y/%B-%e %a
                 hdfs.filePrefix = at-%k-%{user}
                 hdfs.fileType = CompressedStream
                 hdfs.codeC = gzip
                 hdfs.timeZone = America/New_York
                 hdfs.round = true
                 hdfs.roundValue = 6
                 hdfs.roundUnit = hour
                 hdfs.rollCount = 0
                 hdfs.rollSize = 90",
            ),
            hdfs(
                2,
                Form::Bzip2,
                "hdfs.path = file://${env:PLACE}/out/#/%{site}/%j/%D
                 hdfs.fileType = CompressedStream
                 hdfs.codeC = bzip2
                 hdfs.inUsePrefix = _
                 hdfs.inUseSuffix = .open
                 hdfs.fileSuffix = .packed",
            ),
            hdfs(
                2,
                Form::Sequence,
                "hdfs.path = ${env:PLACE}/out/#/%{stage}/%{nothing}/%z%%
                 hdfs.timeZone = Asia/Shanghai
                 hdfs.writeFormat = Writable",
            ),
            hdfs(
                9,
                Form::Sequence,
                "hdfs.path = ${env:PLACE}/out/#/%{user}
                 hdfs.writeFormat = Text
                 hdfs.fileType = SequenceFile",
            ),
            hdfs(
                12,
                Form::Avro,
                "hdfs.path = ${env:PLACE}/out/#/%t
                 hdfs.fileType = DataStream
                 hdfs.fileSuffix = .avro
                 serializer = AVRO_EVENT",
            ),
        ],
    },
    Flow {
        name: "access",
        source: r#"
            type = http
            bind = 127.0.0.1
            port = ${env:PORT_6}
            interceptors = ip name when latin some
            interceptors.ip.type = host
            interceptors.name.type = host
            interceptors.name.useIP = false
            interceptors.name.hostHeader = name
            interceptors.when.type = regex_extractor
            interceptors.when.regex = \\[([^]]+)] "(GET|POST) ([^ "]+)
            interceptors.when.serializers = when method
            interceptors.when.serializers.when.type = org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer
            interceptors.when.serializers.when.pattern = dd/MMM/yyyy:HH:mm:ss Z
            interceptors.when.serializers.when.name = timestamp
            interceptors.when.serializers.method.name = method
            interceptors.latin.type = search_replace
            interceptors.latin.searchPattern = [^ -~]+
            interceptors.latin.replaceString = <$0\u00e9>
            interceptors.latin.charset = ISO-8859-1
            interceptors.some.type = remove_header
            interceptors.some.fromList = a;b
            interceptors.some.fromListSeparator = ;"#,
        sinks: &[
            Sink {
                keys: "sink.serializer = avro_event
                       sink.serializer.compressionCodec = deflate",
                ..roll(4, Form::Avro)
            },
            Sink {
                keys: "sink.serializer.appendNewline = false",
                ..roll(4, Form::Text)
            },
            hdfs(
                4,
                Form::HeaderAndText,
                "hdfs.path = ${env:PLACE}/out/#/%a/%A/%b/%B/%d/%e/%D/%H/%I/%j/%k/%l/%m/%M/%n/%p/%s/%S/%t/%y/%Y/%z
                 hdfs.filePrefix = %{method}%q%%%[localhost]
                 hdfs.fileType = DataStream
                 hdfs.timeZone = Europe/Paris
                 hdfs.round = true
                 hdfs.roundValue = 15
                 hdfs.roundUnit = second
                 serializer = HEADER_AND_TEXT",
            ),
            hdfs(
                4,
                Form::Sequence,
                "hdfs.path = ${env:PLACE}/out/#
                 hdfs.codeC = gzip
                 hdfs.writeFormat = Text",
            ),
        ],
    },
    Flow {
        name: "bytes",
        source: r"
            type = spooldir
            spoolDir = ${env:PLACE}/in/@
            inputCharset = ISO-8859-1
            deserializer.outputCharset = ISO-8859-1
            interceptors = ends b
            interceptors.ends.type = regex_extractor
            interceptors.ends.regex = ^a (.+) b
            interceptors.ends.serializers = s
            interceptors.ends.serializers.s.name = between
            interceptors.b.type = search_replace
            interceptors.b.searchPattern = b$
            interceptors.b.replaceString = c",
        sinks: &[roll(4, Form::Avro)],
    },
    Flow {
        name: "bad",
        source: r"
            type = spooldir
            spoolDir = ${env:PLACE}/in/@
            batchSize = 1",
        sinks: &[differs([2, 3])],
    },
    Flow {
        name: "exec",
        source: r"
            type = exec
            command = cat ${env:PLACE}/in/@/lines
            batchTimeout = 100",
        sinks: &[roll(7, Form::Avro)],
    },
    Flow {
        name: "shell",
        source: r"
            type = exec
            shell = /bin/sh -c
            command = for n in 1 2; do echo 'n  is' $n | tr i I; done",
        sinks: &[roll(2, Form::Avro)],
    },
    Flow {
        name: "tail",
        source: r"
            type = TAILDIR
            filegroups = app others
            filegroups.app = ${env:PLACE}/in/@/app\\.log
            filegroups.others = ${env:PLACE}/in/@/others/.*\\.(txt|log)
            headers.app.kind = app
            headers.app.level = 1
            headers.others.kind = other
            fileHeader = true
            byteOffsetHeader = true
            positionFile = ${env:PLACE}/positions.json
            backoffSleepIncrement = 50
            maxBackoffSleep = 50",
        sinks: &[differs([12, 13])],
    },
    Flow {
        name: "talk",
        source: r"
            type = netcat
            bind = 127.0.0.1
            port = ${env:PORT_2}
            max-line-length = 8",
        sinks: &[differs([9, 10])],
    },
    Flow {
        name: "posts",
        source: r"
            type = http
            bind = 127.0.0.1
            port = ${env:PORT_3}",
        sinks: &[differs([19, 17])],
    },
    Flow {
        name: "full",
        source: r"
            type = http
            bind = 127.0.0.1
            port = ${env:PORT_4}",
        sinks: &[Sink { form: Form::Text, keys: "sink.batchSize = 2", events: [2; 2] }],
    },
    Flow {
        name: "nulls",
        source: r"
            type = http
            bind = 127.0.0.1
            port = ${env:PORT_5}",
        sinks: &[differs([0, 1])],
    },
];

/// The agent's file.
pub fn file() -> String {
    let names = parts().map(|(part, _)| part).collect::<Vec<_>>().join(" ");
    let sources = FLOWS.iter().map(|flow| flow.name).collect::<Vec<_>>().join(" ");
    let mut text = format!("a1.sources = {sources}\na1.channels = {names}\na1.sinks = {names}\n");
    for flow in FLOWS {
        let source = format!("a1.sources.{}", flow.name);
        let channels = flow.parts().map(|(part, _)| part).collect::<Vec<_>>().join(" ");
        text += &format!("{source}.channels = {channels}\n");
        text += &below(&source, &flow.source.replace('@', flow.name));
        for (part, sink) in flow.parts() {
            let (channel, of) = (format!("a1.channels.{part}"), format!("a1.sinks.{part}"));
            let most = if flow.name == "full" { 2 } else { 100 };
            text += &format!(
                "{channel}.type = memory\n{channel}.capacity = 1000\n\
                 {channel}.transactionCapacity = {most}\n{of}.channel = {part}\n"
            );
            let usual = if sink.keys.contains("hdfs.path") {
                "type = hdfs
                 hdfs.rollInterval = 0
                 openFiles = ${env:PLACE}/open-files-#
                 deadLetters = ${env:PLACE}/dead-#"
            } else {
                "type = file_roll
                 sink.directory = ${env:PLACE}/out/#
                 sink.rollInterval = 0"
            };
            text += &below(&of, &format!("{usual}\n{}", sink.keys).replace('#', &part));
        }
    }
    text
}

/// The names of the sources that Flume counts the events of: not those of `netcat`.
pub fn counted() -> String {
    let counted = FLOWS.iter().filter(|flow| !flow.source.contains("netcat"));
    counted.map(|flow| flow.name).collect::<Vec<_>>().join(" ")
}

/// All sinks, with their names.
pub fn parts() -> impl Iterator<Item = (String, &'static Sink)> {
    FLOWS.iter().flat_map(Flow::parts)
}

impl Flow {
    fn parts(&self) -> impl Iterator<Item = (String, &'static Sink)> {
        (1..).zip(self.sinks).map(|(nth, sink)| (format!("{}-{nth}", self.name), sink))
    }
}

fn below(component: &str, keys: &str) -> String {
    let keys = keys.lines().map(str::trim).filter(|key| !key.is_empty());
    keys.map(|key| format!("{component}.{key}\n")).collect()
}

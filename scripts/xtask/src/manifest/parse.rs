//! From the manifest's text to its types, with every mistake named on the way.

use toml::de::{DeTable, DeValue};

use super::section::{Section, Value};
use super::value::{duration_ms, name, size};
use super::{Capability, Channel, Kernel, Manifest, OnCrash, Partition};
use crate::report::{Located, Problem, Span};

const ROOT_KEYS: &[&str] = &["board", "partition", "channel", "selftest", "audit"];
const PARTITION_KEYS: &[&str] = &[
    "name",
    "cpus",
    "memory",
    "kernel",
    "initrd",
    "bootargs",
    "load",
    "dtb",
    "on_crash",
    "heartbeat",
    "capabilities",
    "devices",
    "dma",
];
const CHANNEL_KEYS: &[&str] = &["name", "between", "rw", "size"];
/// Most restarts a manifest can ask for.
const RESTARTS_MAX: u64 = u32::MAX as u64;

/// Reads a manifest.
///
/// # Errors
/// Every mistake in it, in the file's order.
pub fn parse(source: &str) -> Result<Manifest, Vec<Problem>> {
    let (table, errors) = DeTable::parse_recoverable(source);
    if !errors.is_empty() {
        return Err(not_toml(&errors));
    }
    let mut problems = Vec::new();
    let manifest = root(table.get_ref(), &mut problems);
    match manifest {
        Some(manifest) if !problems.iter().any(Problem::is_fatal) => Ok(manifest),
        _ => Err(problems),
    }
}

/// The TOML reader's errors as findings, in the file's order.
pub fn not_toml(errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut found: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), error.message()))
        .collect();
    found.sort_by_key(|(span, _)| span.start);
    found
        .iter()
        .map(|(span, text)| Problem::error(span, format!("not TOML: {text}")))
        .collect()
}

fn root<'t>(table: &'t DeTable<'t>, problems: &mut Vec<Problem>) -> Option<Manifest> {
    let mut section = Section::new(table, 0..0, "the manifest", ROOT_KEYS, problems);
    let board = section
        .require("board", "board = \"qemu-virt\"")
        .and_then(|value| section.text(value));
    let [selftest, audit] = ["selftest", "audit"].map(|key| match section.get(key) {
        Some(value) => section.flag(value).unwrap_or(false),
        None => false,
    });
    let partitions = tables(&mut section, "partition");
    let channels = tables(&mut section, "channel");
    if section.get("partition").is_none() {
        let problem = Problem::error(&(0..0), "the manifest has no partition")
            .remedy("add [[partition]] with name, cpus, memory and kernel");
        section.report(problem);
    }
    let partitions = partitions
        .into_iter()
        .filter_map(|(table, span)| partition(table, span, problems))
        .collect();
    let channels = channels
        .into_iter()
        .filter_map(|(table, span)| channel(table, span, problems))
        .collect();
    Some(Manifest {
        board: board?,
        selftest,
        audit,
        partitions,
        channels,
    })
}

fn tables<'t>(section: &mut Section<'t, '_>, key: &str) -> Vec<(&'t DeTable<'t>, Span)> {
    let Some(value) = section.get(key) else {
        return Vec::new();
    };
    let wanted = format!("a list of tables: write [[{key}]], with two brackets");
    let DeValue::Array(items) = value.get_ref() else {
        let _: Option<()> = section.mistyped(value, &wanted);
        return Vec::new();
    };
    let mut result = Vec::new();
    for item in items.iter() {
        match item.get_ref() {
            DeValue::Table(table) => result.push((table, item.span())),
            _ => {
                let _: Option<()> = section.mistyped(item, &wanted);
            }
        }
    }
    result
}

fn partition<'t>(
    table: &'t DeTable<'t>,
    span: Span,
    problems: &mut Vec<Problem>,
) -> Option<Partition> {
    let mut section = Section::new(table, span, "a partition", PARTITION_KEYS, problems);
    let name = section
        .require("name", "name = \"linux\"")
        .and_then(|value| name_of(&mut section, value));
    let cpus = section
        .require("cpus", "cpus = [0]")
        .map(|value| cpus(&mut section, value))
        .unwrap_or_default();
    let memory = section
        .require("memory", "memory = \"64M\"")
        .and_then(|value| section.converted(value, "a size", size));
    let kernel = section
        .require("kernel", "kernel = \"path/to/Image\"")
        .and_then(|value| kernel(&mut section, value));
    let bootargs = optional(&mut section, "bootargs", |s, v| s.text(v));
    let heartbeat = optional(&mut section, "heartbeat", |section, value| {
        section.converted(value, "a duration", duration_ms)
    });
    let on_crash = optional(&mut section, "on_crash", on_crash);
    Some(Partition {
        initrd: optional(&mut section, "initrd", |s, v| s.text(v)),
        bootargs: bootargs.map(|text| text.value).unwrap_or_default(),
        load: optional(&mut section, "load", |s, v| s.number(v, u64::MAX)),
        dtb: optional(&mut section, "dtb", |s, v| s.number(v, u64::MAX)),
        on_crash: on_crash.unwrap_or(OnCrash::Stop),
        heartbeat_ms: heartbeat.map(|duration| duration.value),
        capabilities: each(&mut section, "capabilities", capability),
        devices: each(&mut section, "devices", |s, v| s.text(v)),
        dma_unconfined: optional(&mut section, "dma", dma),
        name: name?,
        cpus,
        memory: memory?,
        kernel: kernel?,
    })
}

fn channel<'t>(table: &'t DeTable<'t>, span: Span, problems: &mut Vec<Problem>) -> Option<Channel> {
    let mut section = Section::new(table, span, "a channel", CHANNEL_KEYS, problems);
    let name = section
        .require("name", "name = \"telemetry\"")
        .and_then(|value| name_of(&mut section, value));
    let between = section
        .require("between", "between = [\"writer\", \"reader\"]")
        .and_then(|value| between(&mut section, value));
    let size = section
        .require("size", "size = \"64K\"")
        .and_then(|value| section.converted(value, "a size", size));
    let both = optional(&mut section, "rw", |section, value| {
        choice(section, value, &["both"])
    });
    Some(Channel {
        name: name?,
        between: between?,
        both: both.is_some(),
        size: size?,
    })
}

fn optional<'t, T>(
    section: &mut Section<'t, '_>,
    key: &str,
    read: impl Fn(&mut Section<'t, '_>, &'t Value<'t>) -> Option<T>,
) -> Option<T> {
    let value = section.get(key)?;
    read(section, value)
}

fn each<'t, T>(
    section: &mut Section<'t, '_>,
    key: &str,
    read: impl Fn(&mut Section<'t, '_>, &'t Value<'t>) -> Option<T>,
) -> Vec<T> {
    let Some(value) = section.get(key) else {
        return Vec::new();
    };
    let items = section.list(value);
    items
        .iter()
        .filter_map(|item| read(section, item))
        .collect()
}

fn name_of<'t>(section: &mut Section<'t, '_>, value: &'t Value<'t>) -> Option<Located<String>> {
    section.converted(value, "a name", |text| {
        name(text).map(|()| text.to_string())
    })
}

fn cpus<'t>(section: &mut Section<'t, '_>, value: &'t Value<'t>) -> Vec<Located<u8>> {
    let items = section.list(value);
    if matches!(value.get_ref(), DeValue::Array(_)) && items.is_empty() {
        let problem = Problem::error(&value.span(), "a partition needs a CPU")
            .remedy("name the physical CPUs it owns, such as [0, 1]");
        section.report(problem);
    }
    let mut result = Vec::new();
    for item in items {
        if let Some(number) = section.number(item, u64::from(u8::MAX)) {
            let cpu = u8::try_from(number.value).unwrap_or(u8::MAX);
            result.push(Located::new(cpu, number.span));
        }
    }
    result
}

fn kernel<'t>(section: &mut Section<'t, '_>, value: &'t Value<'t>) -> Option<Located<Kernel>> {
    let kernel = match value.get_ref() {
        DeValue::String(text) => Kernel::Named(text.to_string()),
        DeValue::Table(table) => debian(section, table, value.span())?,
        _ => return section.mistyped(value, "a path, a guest's name, or { debian = \"PACKAGE\" }"),
    };
    Some(Located::new(kernel, value.span()))
}

fn debian<'t>(section: &mut Section<'t, '_>, table: &'t DeTable<'t>, span: Span) -> Option<Kernel> {
    let mut problems = Vec::new();
    let mut inner = Section::new(table, span, "`kernel`", &["debian", "file"], &mut problems);
    let text = inner
        .require("debian", "{ debian = \"linux-image-cloud-arm64\" }")
        .and_then(|value| inner.converted(value, "a Debian package", package));
    let file = inner.get("file").and_then(|value| {
        inner
            .converted(value, "a file of a package", packaged)
            .map(|file| file.value)
    });
    for problem in problems {
        section.report(problem);
    }
    let package = text?.value;
    Some(Kernel::Debian { package, file })
}

/// Checks the path of a file in a package: it becomes part of a command line, and a file's name here.
fn packaged(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+-._/".contains(c);
    let plain = text
        .split('/')
        .all(|part| !part.is_empty() && !part.starts_with('.'));
    if plain && text.chars().all(allowed) {
        Ok(text.to_string())
    } else {
        Err(
            "name it from the root, without a slash in front: usr/lib/u-boot/qemu_arm64/u-boot.bin"
                .into(),
        )
    }
}

/// Checks a Debian package's name (Debian Policy 5.6.1): it becomes part of a command line.
fn package(text: &str) -> Result<String, String> {
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts && text.len() > 1 && text.chars().all(allowed) {
        Ok(text.to_string())
    } else {
        Err("a package is named in lower case, such as linux-image-cloud-arm64".into())
    }
}

fn on_crash<'t>(section: &mut Section<'t, '_>, value: &'t Value<'t>) -> Option<OnCrash> {
    let DeValue::Table(table) = value.get_ref() else {
        let (word, _) = choice(section, value, &["stop", "notify"])?;
        return Some(match word {
            "notify" => OnCrash::Notify,
            _ => OnCrash::Stop,
        });
    };
    let mut problems = Vec::new();
    let mut inner = Section::new(
        table,
        value.span(),
        "`on_crash`",
        &["restart", "within"],
        &mut problems,
    );
    let limit = inner
        .require("restart", "{ restart = 3 }")
        .and_then(|value| inner.number(value, RESTARTS_MAX));
    let window = optional(&mut inner, "within", |inner, value| {
        inner.converted(value, "a duration", duration_ms)
    });
    for problem in problems {
        section.report(problem);
    }
    limit.map(|limit| OnCrash::Restart {
        limit: u32::try_from(limit.value).unwrap_or(u32::MAX),
        window_ms: window.map(|window| window.value),
    })
}

fn dma<'t>(section: &mut Section<'t, '_>, value: &'t Value<'t>) -> Option<Span> {
    choice(section, value, &["unconfined"]).map(|(_, span)| span)
}

fn capability<'t>(
    section: &mut Section<'t, '_>,
    value: &'t Value<'t>,
) -> Option<Located<Capability>> {
    section.converted(value, "a capability", |text| {
        match (text, text.strip_prefix("manage:")) {
            ("observe", _) => Ok(Capability::Observe),
            (_, Some(other)) if !other.is_empty() => Ok(Capability::Manage(other.to_string())),
            _ => Err("the capabilities are \"observe\" and \"manage:PARTITION\"".into()),
        }
    })
}

fn between<'t>(
    section: &mut Section<'t, '_>,
    value: &'t Value<'t>,
) -> Option<[Located<String>; 2]> {
    let items = section.list(value);
    let [from, to] = items else {
        let problem = Problem::error(&value.span(), "a channel has two ends")
            .label(format!("{} named here", items.len()))
            .remedy("write the partition that writes, then the one that reads");
        section.report(problem);
        return None;
    };
    Some([section.text(from)?, section.text(to)?])
}

fn choice<'t>(
    section: &mut Section<'t, '_>,
    value: &'t Value<'t>,
    words: &[&'static str],
) -> Option<(&'static str, Span)> {
    let text = section.text(value)?;
    let found = words.iter().find(|word| **word == text.value);
    if found.is_none() {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let problem = Problem::error(&text.span, format!("`{}` means nothing here", text.value))
            .remedy(format!("what may stand here: {}", quoted.join(" or ")));
        section.report(problem);
    }
    found.map(|word| (*word, text.span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plain;

    /// The first message of a manifest that has mistakes, from its text on.
    fn complaint(source: &str) -> String {
        let problems = parse(source).expect_err("the manifest has a mistake");
        plain("m.toml", source, &problems)
    }

    fn with(line: &str) -> String {
        format!(
            "board = \"b\"\n[[partition]]\nname = \"a\"\ncpus = [0]\nmemory = \"4M\"\nkernel = \"k\"\n{line}\n"
        )
    }

    fn instead(key: &str, line: &str) -> String {
        let text = with("");
        let kept: Vec<&str> = text
            .lines()
            .filter(|l| !l.starts_with(key) && !l.is_empty())
            .collect();
        format!("{}\n{line}\n", kept.join("\n"))
    }

    #[test]
    fn a_full_manifest_is_read_as_written() {
        let source = with(
            "initrd = \"i\"\nbootargs = \"quiet\"\nload = 0x4008_0000\non_crash = { restart = 3, within = \"60s\" }\n\
             heartbeat = \"100ms\"\ncapabilities = [\"manage:b\", \"observe\"]\ndevices = [\"/d@1\"]\n\
             dma = \"unconfined\"\n[[partition]]\nname = \"b\"\ncpus = [1, 2]\nmemory = \"1G\"\n\
             kernel = { debian = \"linux-image-arm64\" }\n[[channel]]\nname = \"c\"\n\
             between = [\"a\", \"b\"]\nsize = \"64K\"\nrw = \"both\"",
        );
        let manifest = parse(&source).expect("no mistake");
        let [first, second] = &manifest.partitions[..] else {
            panic!("two partitions")
        };
        assert_eq!(first.memory.value, 4 << 20);
        assert_eq!(
            first.load.as_ref().map(|load| load.value),
            Some(0x4008_0000)
        );
        assert_eq!(
            first.on_crash,
            OnCrash::Restart {
                limit: 3,
                window_ms: Some(60_000)
            }
        );
        assert_eq!(first.heartbeat_ms, Some(100));
        assert_eq!(first.capabilities.len(), 2);
        assert!(first.dma_unconfined.is_some());
        assert_eq!(
            second.kernel.value,
            Kernel::Debian {
                package: "linux-image-arm64".into(),
                file: None
            }
        );
        assert_eq!(second.cpus.len(), 2);
        assert!(manifest.channels[0].both);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        assert_eq!(
            complaint(&with("bootarg = \"x\"")),
            "error: a partition has no key `bootarg`\n  --> m.toml:7:1\n  |\n7 | bootarg = \"x\"\n  | ^^^^^^^ unknown key\n  |\n  = help: did you mean `bootargs`?\n\n"
        );
        assert!(complaint("boards = \"x\"").contains("did you mean `board`?"));
        assert!(complaint(&with("[[channel]]\nsiez = \"4K\"")).contains("did you mean `size`?"));
        assert!(
            complaint(&with("on_crash = { restarts = 1 }")).contains("did you mean `restart`?")
        );
    }

    #[test]
    fn a_key_that_must_be_there_is_asked_for_with_an_example() {
        assert_eq!(
            complaint(&instead("memory", "")),
            "error: a partition lacks `memory`\n  --> m.toml:2:1\n  |\n2 | [[partition]]\n  | ^^^^^^^^^^^^^\n  |\n  = help: add a line: memory = \"64M\"\n\n"
        );
        for key in ["name", "cpus", "kernel"] {
            assert!(complaint(&instead(key, "")).contains(&format!("a partition lacks `{key}`")));
        }
        assert!(complaint("").contains("the manifest lacks `board`"));
        assert!(complaint("board = \"b\"").contains("the manifest has no partition"));
    }

    #[test]
    fn a_bad_size_is_refused() {
        assert_eq!(
            complaint(&instead("memory", "memory = \"4 MB\"")),
            "error: `4 MB` is not a size\n  --> m.toml:6:10\n  |\n6 | memory = \"4 MB\"\n  |          ^^^^^^\n  |\n  = help: write a whole number and K, M or G (powers of 1024), such as \"256M\"\n\n"
        );
    }

    #[test]
    fn a_bad_duration_is_refused() {
        let text = complaint(&with("heartbeat = \"1h\""));
        assert!(
            text.contains("`1h` is not a duration\n  --> m.toml:7:13"),
            "{text}"
        );
        assert!(text.contains("such as \"100ms\""), "{text}");
    }

    #[test]
    fn a_bad_name_is_refused() {
        let text = complaint(&instead("name", "name = \"my linux\""));
        assert!(
            text.contains("`my linux` is not a name\n  --> m.toml:6:8"),
            "{text}"
        );
        assert!(
            text.contains("a name is a letter and then letters"),
            "{text}"
        );
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let text = complaint(&instead("memory", "memory = 4"));
        assert!(text.contains("this should be a text in quotes"), "{text}");
        assert!(text.contains("this is of type integer"), "{text}");
        let text = complaint(&instead("cpus", "cpus = 0"));
        assert!(
            text.contains("this should be a list in square brackets"),
            "{text}"
        );
        let text = complaint("board = \"b\"\n[partition]\nname = \"x\"");
        assert!(
            text.contains("write [[partition]], with two brackets"),
            "{text}"
        );
    }

    #[test]
    fn words_that_mean_nothing_are_refused_with_those_that_do() {
        assert!(complaint(&with("on_crash = \"stpo\"")).contains("\"stop\" or \"notify\""));
        assert!(complaint(&with("dma = \"yes\"")).contains("\"unconfined\""));
        assert!(complaint(&with("capabilities = [\"manage\"]")).contains("\"manage:PARTITION\""));
        assert!(
            complaint(&instead("kernel", "kernel = { debian = \"a;b\" }"))
                .contains("`a;b` is not a Debian package")
        );
        for file in ["../x", "/boot/x", "a b", ""] {
            let kernel = format!("kernel = {{ debian = \"p1\", file = \"{file}\" }}");
            assert!(complaint(&instead("kernel", &kernel)).contains("is not a file of a package"));
        }
    }

    #[test]
    fn a_channel_has_two_ends() {
        let text = complaint(&with(
            "[[channel]]\nname = \"c\"\nbetween = [\"a\"]\nsize = \"4K\"",
        ));
        assert!(
            text.contains("a channel has two ends\n  --> m.toml:9:11"),
            "{text}"
        );
    }

    #[test]
    fn a_partition_needs_a_cpu() {
        let text = complaint(&instead("cpus", "cpus = []"));
        assert!(
            text.contains("a partition needs a CPU\n  --> m.toml:6:8"),
            "{text}"
        );
        assert!(complaint(&instead("cpus", "cpus = [-1]")).contains("out of range"));
    }

    #[test]
    fn what_is_not_toml_is_refused_at_its_place() {
        let text = complaint("board = \"b\nx");
        assert!(text.contains("not TOML"), "{text}");
        assert!(text.contains("m.toml:1:"), "{text}");
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let text = complaint(&with("bootarg = \"x\"\nheartbeat = \"1\""));
        assert_eq!(text.matches("error:").count(), 2, "{text}");
    }

    #[test]
    fn every_key_is_explained_in_the_boards_readme() {
        let text = include_str!("../../../../platform/README.md");
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let keys = [ROOT_KEYS, PARTITION_KEYS, CHANNEL_KEYS].concat();
        for key in keys {
            let told = rows.iter().any(|row| row.contains(&format!("`{key}`")));
            let table = matches!(key, "partition" | "channel");
            assert!(told || table, "{key}");
        }
    }
}

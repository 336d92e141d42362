//! The counting plugin (`scripts/xtask/plugin/counts.c`): built, given to QEMU, and what it wrote read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, bail};

use super::symbols::Image;
use crate::workspace;

/// Windows of each id that are not counted: the benchmark does each row so often before (`WARM` of guests/bench).
const WARM: u32 = 4;

/// A line of the plugin's: what it counts, and its numbers by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    kind: String,
    values: BTreeMap<String, u64>,
}

impl Fact {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let kind = words.next()?.to_string();
        let mut values = BTreeMap::new();
        for word in words {
            let Some((name, value)) = word.split_once('=') else {
                values.insert("id".to_string(), word.parse().ok()?);
                continue;
            };
            let value = match value.strip_prefix("0x") {
                Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
                None => value.parse(),
            };
            values.insert(name.to_string(), value.ok()?);
        }
        Some(Self { kind, values })
    }

    /// The number called `name`; 0 where there is none.
    pub fn get(&self, name: &str) -> u64 {
        self.values.get(name).copied().unwrap_or(0)
    }
}

/// How often EL2 executed the instruction at an address, in the windows of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The id of the windows.
    pub window: u64,
    /// The instruction's address.
    pub address: u64,
    /// How often, on all cores and in all windows of that id together.
    pub count: u64,
}

/// Everything the plugin said.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    facts: Vec<Fact>,
    places: Vec<Place>,
}

impl Counts {
    /// Reads what the plugin wrote to `file` and beside it; a line that was cut off at the end is left out.
    ///
    /// # Errors
    /// It wrote nothing.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = |file: &Path| {
            std::fs::read_to_string(file)
                .with_context(|| format!("the counting plugin wrote no {}", workspace::show(file)))
        };
        let mut counts = Self::parse(&text(file)?);
        counts.places = text(&profile(file))?.lines().filter_map(place).collect();
        Ok(counts)
    }

    /// The facts of `text`.
    pub fn parse(text: &str) -> Self {
        Self {
            facts: text.lines().filter_map(Fact::parse).collect(),
            places: Vec::new(),
        }
    }

    /// The facts of one kind, in their order.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Fact> {
        self.facts.iter().filter(move |fact| fact.kind == kind)
    }

    /// The instructions executed in windows with this id.
    pub fn places(&self, window: u64) -> impl Iterator<Item = &Place> {
        self.places
            .iter()
            .filter(move |place| place.window == window)
    }

    /// Where EL2's vector table was.
    pub fn vectors(&self) -> Option<u64> {
        self.of("vectors").last().map(|fact| fact.get("at"))
    }
}

fn place(line: &str) -> Option<Place> {
    let mut words = line.split_whitespace();
    Some(Place {
        window: words.next()?.parse().ok()?,
        address: u64::from_str_radix(words.next()?, 16).ok()?,
        count: words.next()?.parse().ok()?,
    })
}

/// Where the instructions by address are, beside the facts in `file`.
fn profile(file: &Path) -> PathBuf {
    file.with_extension("profile")
}

/// Builds the plugin, unless that was done since its source changed, and gives QEMU's argument for it: its facts go to `out`. The
/// image runs at `image_at`; `guests` counts their instructions too.
///
/// # Errors
/// There is no C compiler, or it refuses the source.
pub fn arguments(out: &Path, image_at: u64, guests: bool) -> anyhow::Result<Vec<String>> {
    let source = workspace::root().join("scripts/xtask/plugin/counts.c");
    let built = workspace::target().join("plugin/counts.so");
    let modified = |file: &PathBuf| {
        std::fs::metadata(file)
            .and_then(|meta| meta.modified())
            .ok()
    };
    {
        // Tests run at the same time: one of them builds it.
        static BUILDING: Mutex<()> = Mutex::new(());
        let _building = BUILDING.lock();
        if modified(&built).is_none() || modified(&built) < modified(&source) {
            compile(&source, &built)?;
        }
    }
    let (built, profile, out) = (built.display(), profile(out), out.display());
    let profile = profile.display();
    let waits = Image::built()?.waits()?.into_iter();
    let waits: Vec<String> = waits.map(|at| format!("{:x}", image_at + at)).collect();
    let waits = waits.join("/");
    let guests = if guests { "blocks" } else { "off" };
    let option =
        format!("{built},out={out},profile={profile},skip={WARM},guest={guests},waits={waits}");
    Ok(vec!["-plugin".into(), option])
}

fn compile(source: &Path, built: &Path) -> anyhow::Result<()> {
    let part = built.with_extension(format!("{}.part", std::process::id()));
    std::fs::create_dir_all(built.parent().unwrap_or(Path::new(".")))?;
    let output = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-fvisibility=hidden"])
        .args(["-ftls-model=initial-exec", "-o"])
        .args([&part, source])
        .output()
        .context("a C compiler (cc) is missing: install gcc")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::rename(part, built).context("placing the counting plugin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_plugins_is_read() {
        let fact = Fact::parse("window 3 n=7 core=1 el2=92 detail=0x9000018").unwrap();
        assert_eq!(fact.kind, "window");
        assert_eq!([fact.get("id"), fact.get("n"), fact.get("el2")], [3, 7, 92]);
        assert_eq!(fact.get("detail"), 0x900_0018);
        assert_eq!(Fact::parse("period core=2 el2="), None);
        let expected = Place {
            window: 3,
            address: 0x4020_1abc,
            count: 64,
        };
        assert_eq!(place("3 40201abc 64"), Some(expected));
    }
}

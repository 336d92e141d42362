//! The hypervisor's ELF file: its symbols and sections, and which source an instruction is of.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};

use crate::symbolize::Symbols;
use crate::{build, workspace};

/// The function that every wait for another core is in.
const WAIT: &str = "spin_loop";
/// The symbol of EL2's vector table.
pub const VECTORS: [&str; 2] = ["vectors_v2", "vectors_v3"];
/// What the image is aligned to, and the tables of vectors are not.
const IMAGE_ALIGNMENT: u64 = 0x1000;

/// A symbol that has a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sized {
    /// Its name, as a person reads it.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Whether it is a variable.
    pub is_writable: bool,
}

/// A section that is loaded, or that takes memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Whether it is for variables.
    pub is_writable: bool,
}

/// The image: linked at 0.
pub struct Image {
    /// The names of its code, by address.
    pub code: BTreeMap<u64, String>,
    /// Its code, and where that begins.
    text: (u64, Vec<u8>),
    /// Its sections, in their order.
    pub sections: Vec<Section>,
    /// Everything that has a size.
    pub sized: Vec<Sized>,
    lines: Symbols,
}

/// The code's section.
const TEXT: &str = ".text";
/// The sections for variables.
const WRITABLE: [&str; 3] = [".data", ".stale", ".bss"];

impl Image {
    /// The image that was built last.
    ///
    /// # Errors
    /// There is none.
    pub fn built() -> anyhow::Result<Self> {
        Self::load(&build::symbols())
    }

    fn load(path: &Path) -> anyhow::Result<Self> {
        let named = || workspace::show(path);
        let bytes = std::fs::read(path).with_context(named)?;
        let file = object::File::parse(&*bytes).with_context(named)?;
        let mut code = BTreeMap::new();
        let mut sized = Vec::new();
        for symbol in file.symbols() {
            let Ok(name) = symbol.name() else { continue };
            let section = symbol
                .section_index()
                .and_then(|at| file.section_by_index(at).ok());
            let Some(section) = section.filter(|_| !name.is_empty() && !name.starts_with('$'))
            else {
                continue;
            };
            let readable = format!("{:#}", rustc_demangle::demangle(name));
            if section.kind() == SectionKind::Text && symbol.kind() != SymbolKind::File {
                code.insert(symbol.address(), readable.clone());
            }
            if symbol.size() > 0 {
                sized.push(Sized {
                    name: readable,
                    size: symbol.size(),
                    is_writable: section.name().is_ok_and(|name| WRITABLE.contains(&name)),
                });
            }
        }
        let sections = file.sections().filter_map(|section| {
            let name = section.name().ok()?.to_string();
            // Link-time facts have no address; .text has the lowest, 0.
            (section.address() != 0 || name == TEXT).then(|| Section {
                is_writable: WRITABLE.contains(&name.as_str()),
                name,
                size: section.size(),
            })
        });
        let sections = sections.collect();
        let text = file
            .section_by_name(TEXT)
            .context("the image has no code")?;
        let text = (text.address(), text.data()?.to_vec());
        Ok(Self {
            code,
            text,
            sections,
            sized,
            lines: Symbols::load(path)?,
        })
    }

    /// Where the image runs, given where its vectors are.
    ///
    /// # Errors
    /// It has no vectors.
    pub fn base(&self, vectors: u64) -> anyhow::Result<u64> {
        let tables = self
            .code
            .iter()
            .filter(|(_, name)| VECTORS.contains(&name.as_str()));
        let mut bases = tables.filter_map(|(linked, _)| vectors.checked_sub(*linked));
        bases
            .find(|base| base.is_multiple_of(IMAGE_ALIGNMENT))
            .with_context(|| format!("the image has no symbol of {VECTORS:?}"))
    }

    /// Where the function at `offset` begins and ends, and its name.
    pub fn bounds(&self, offset: u64) -> Option<(u64, u64, &str)> {
        let (begin, name) = self.code.range(..=offset).next_back()?;
        let after = self.code.range(offset + 1..).next();
        let end = after.map_or(self.text.0 + self.text.1.len() as u64, |(at, _)| *at);
        Some((*begin, end, name))
    }

    /// The instruction at `offset`.
    pub fn word(&self, offset: u64) -> Option<u32> {
        let at = usize::try_from(offset.checked_sub(self.text.0)?).ok()?;
        let bytes = self.text.1.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Where EL2 waits for another core: what `spin_loop` makes, by its inlined functions.
    ///
    /// # Errors
    /// The line numbers cannot be read.
    pub fn waits(&self) -> anyhow::Result<Vec<u64>> {
        /// ISB SY.
        const ISB: u32 = 0xd503_3fdf;
        let mut waits = Vec::new();
        for at in (self.text.0..self.text.0 + self.text.1.len() as u64).step_by(4) {
            let is_wait = |frame: &String| frame.contains(WAIT);
            if self.word(at) == Some(ISB) && self.frames(at)?.iter().any(is_wait) {
                waits.push(at);
            }
        }
        Ok(waits)
    }

    /// The function at `offset`, by the symbol before it.
    pub fn function(&self, offset: u64) -> String {
        let before = self.code.range(..=offset).next_back();
        before.map_or_else(|| "?".to_string(), |(_, name)| name.clone())
    }

    /// The function that the instruction at `offset` was written in, inlined or not.
    ///
    /// # Errors
    /// The line numbers cannot be read.
    pub fn innermost(&self, offset: u64) -> anyhow::Result<String> {
        let line = self.innermost_line(offset)?;
        Ok(line
            .rsplit_once(':')
            .map_or(line.clone(), |(file, _)| file.to_string()))
    }

    /// As [`Image::innermost`], with the line.
    ///
    /// # Errors
    /// The line numbers cannot be read.
    pub fn innermost_line(&self, offset: u64) -> anyhow::Result<String> {
        let frames = self.frames(offset)?;
        Ok(frames
            .into_iter()
            .next()
            .unwrap_or_else(|| "assembly".into()))
    }

    /// The functions that the instruction at `offset` is in, with their lines, the innermost first.
    ///
    /// # Errors
    /// The line numbers cannot be read.
    pub fn frames(&self, offset: u64) -> anyhow::Result<Vec<String>> {
        self.lines.at(offset)
    }
}

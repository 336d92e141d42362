//! The hypervisor's ELF file: its symbols and sections, and which source an instruction is of.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};

use crate::symbolize::Symbols;
use crate::{build, workspace};

/// The symbol of EL2's vector table.
const VECTORS: &str = "vectors";

/// A symbol that has a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sized {
    /// Its name, as a person reads it.
    pub name: String,
    /// Where it is.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
    /// Its section.
    pub section: String,
}

/// The image: linked at 0.
pub struct Image {
    /// The names of its code, by address.
    code: BTreeMap<u64, String>,
    /// Sections that are loaded: name, address, bytes.
    pub sections: Vec<(String, u64, u64)>,
    /// Everything that has a size.
    pub sized: Vec<Sized>,
    lines: Symbols,
}

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
                    address: symbol.address(),
                    size: symbol.size(),
                    section: section.name().unwrap_or_default().to_string(),
                });
            }
        }
        let sections = file
            .sections()
            .filter(|section| section.kind() != SectionKind::Metadata && is_loaded(section.kind()))
            .map(|section| {
                (
                    section.name().unwrap_or_default().to_string(),
                    section.address(),
                    section.size(),
                )
            })
            .collect();
        Ok(Self {
            code,
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
        let linked = self.code.iter().find(|(_, name)| *name == VECTORS);
        let (linked, _) = linked.ok_or_else(|| anyhow!("the image has no symbol `{VECTORS}`"))?;
        vectors
            .checked_sub(*linked)
            .context("the vectors lie below the image")
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
        let frames = self.lines.at(offset)?;
        Ok(frames
            .into_iter()
            .next()
            .unwrap_or_else(|| "assembly".into()))
    }
}

fn is_loaded(kind: SectionKind) -> bool {
    matches!(
        kind,
        SectionKind::Text
            | SectionKind::Data
            | SectionKind::ReadOnlyData
            | SectionKind::ReadOnlyDataWithRel
            | SectionKind::UninitializedData
    )
}

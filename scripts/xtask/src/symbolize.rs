//! `symbolize`: names the addresses in what the hypervisor says of its own failures.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use addr2line::Loader;
use anyhow::{Context as _, anyhow};
use regex::Regex;

use crate::{build, workspace};

/// How the hypervisor writes an address: as an offset from where its image is linked, which is 0.
const ADDRESS: &str = r"image\+0x([0-9a-f]+)";

/// Copies `input` to `output`, a line below each address for every function that is there: the innermost first.
///
/// # Errors
/// There is no image with line numbers, or `input` cannot be read.
pub fn run(input: Option<&Path>, image: Option<&Path>) -> anyhow::Result<()> {
    let image = image.map_or_else(build::symbols, Path::to_path_buf);
    let symbols = Symbols::load(&image)?;
    let input: Box<dyn Read> = match input {
        Some(path) => Box::new(std::fs::File::open(path).with_context(|| workspace::show(path))?),
        None => Box::new(std::io::stdin()),
    };
    for line in BufReader::new(input).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{}", line.trim_end());
        for frame in symbols.in_line(&line)? {
            println!("    {frame}");
        }
    }
    Ok(())
}

/// The image's functions and lines.
pub struct Symbols {
    loader: Loader,
    address: Regex,
}

impl Symbols {
    /// Reads the line numbers in the ELF file `image`.
    ///
    /// # Errors
    /// There are none.
    pub fn load(image: &Path) -> anyhow::Result<Self> {
        let loader = Loader::new(image).map_err(|error| {
            anyhow!(
                "{}: {error}: `cargo xtask build` makes it",
                workspace::show(image)
            )
        })?;
        Ok(Self {
            loader,
            address: Regex::new(ADDRESS)?,
        })
    }

    /// The functions at the addresses in `line`.
    fn in_line(&self, line: &str) -> anyhow::Result<Vec<String>> {
        let mut named = Vec::new();
        for found in self.address.captures_iter(line) {
            named.extend(self.at(u64::from_str_radix(&found[1], 16)?)?);
        }
        Ok(named)
    }

    /// The functions at `address`, innermost first: those inlined, then the one they are in.
    ///
    /// # Errors
    /// The line numbers are damaged.
    pub fn at(&self, address: u64) -> anyhow::Result<Vec<String>> {
        let failed = |error| anyhow!("the image's line numbers: {error}");
        let mut frames = self
            .loader
            .find_frames(address)
            .map_err(|e| failed(e.to_string()))?;
        let mut named = Vec::new();
        while let Some(frame) = frames.next().map_err(|e| failed(e.to_string()))? {
            let function = frame.function.as_ref();
            let name = function.and_then(|function| function.demangle().ok());
            let name = name.map_or_else(|| "?".to_string(), |name| name.into_owned());
            let place = frame
                .location
                .and_then(|place| Some(format!("{}:{}", place.file?, place.line.unwrap_or(0))));
            named.push(match place {
                Some(place) => format!("{name} at {}", short(&place)),
                None => name,
            });
        }
        if named.is_empty() {
            named.extend(self.loader.find_symbol(address).map(str::to_string));
        }
        Ok(named)
    }
}

/// A file's path from the repository's root on, where it is there.
fn short(place: &str) -> &str {
    let root = workspace::root().display().to_string() + "/";
    place.strip_prefix(&root).unwrap_or(place)
}

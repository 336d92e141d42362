//! Which functions of the hypervisor the instructions of a row are in.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::figures;
use super::plugin::{Counts, Place};
use super::rows::Row;
use super::symbols::Image;

/// A share below this of a function's instructions is not listed by line.
const LEAST_SHARE: f64 = 0.01;

/// Functions that are named where a row takes too much.
const MOST: usize = 8;
/// Functions that work on much memory, by their symbols, and a file of such.
const BULK: &[&str] = &[
    "copy_blocks",
    "is_not_zero",
    "sha256_blocks",
    "sha2::sha256::compress256",
];
const BULK_FILE: &str = "src/edge/cache.rs";

/// The instructions of a row, by their place in the image.
#[derive(Clone, Debug)]
pub struct Profile {
    /// How many windows they are of.
    windows: usize,
    /// How often each was executed, by offset in the image.
    offsets: BTreeMap<u64, u64>,
}

/// The profile of a row, per window.
///
/// # Errors
/// There are no such windows, or the image has no symbols.
pub fn of(counts: &Counts, row: &Row) -> anyhow::Result<Profile> {
    let figures = figures::of(counts, row).context("nothing was counted")?;
    Ok(Profile {
        windows: figures.windows,
        ..all(counts, row.id)?
    })
}

/// The profile of all windows with this id together.
///
/// # Errors
/// The image has no symbols.
pub fn all(counts: &Counts, id: u64) -> anyhow::Result<Profile> {
    let vectors = counts.vectors().context("the plugin saw no vectors")?;
    let base = Image::built()?.base(vectors)?;
    let mut offsets = BTreeMap::new();
    for Place { address, count, .. } in counts.places(id) {
        *offsets.entry(address.wrapping_sub(base)).or_default() += count;
    }
    Ok(Profile {
        windows: 1,
        offsets,
    })
}

impl Profile {
    /// For people: the instructions of one go by function, and in each by what was inlined into it.
    ///
    /// # Errors
    /// The image has no symbols.
    pub fn lines(&self) -> anyhow::Result<Vec<String>> {
        let image = Image::built()?;
        let mut functions: BTreeMap<String, (u64, BTreeMap<String, u64>)> = BTreeMap::new();
        for (offset, count) in &self.offsets {
            let (sum, inlined) = functions.entry(image.function(*offset)).or_default();
            *sum += count;
            *inlined.entry(image.innermost(*offset)?).or_default() += count;
        }
        let all: u64 = self.offsets.values().sum();
        let mut lines = vec![format!("{:8.1}  all", self.each(all))];
        for (name, (sum, inlined)) in descending(functions, |(sum, _)| *sum) {
            lines.push(format!("{:8.1}  {name}", self.each(sum)));
            for (place, count) in descending(inlined, |count| *count) {
                if count as f64 >= LEAST_SHARE * all as f64 {
                    lines.push(format!("{:16.1}  {place}", self.each(count)));
                }
            }
        }
        Ok(lines)
    }

    /// For people: the functions that most of the instructions of one go are in.
    ///
    /// # Errors
    /// The image has no symbols.
    pub fn functions(&self) -> anyhow::Result<Vec<String>> {
        let image = Image::built()?;
        let mut functions: BTreeMap<String, u64> = BTreeMap::new();
        for (offset, count) in &self.offsets {
            *functions.entry(image.function(*offset)).or_default() += count;
        }
        let most = descending(functions, |sum| *sum).into_iter().take(MOST);
        Ok(most
            .map(|(name, sum)| format!("{:10.1} in {name}", self.each(sum)))
            .collect())
    }

    /// For people: every instruction that was executed, in the order of the image, how often in one go, and its source.
    ///
    /// # Errors
    /// As [`Profile::lines`].
    pub fn listing(&self) -> anyhow::Result<Vec<String>> {
        let image = Image::built()?;
        let mut lines = Vec::new();
        let mut last = String::new();
        for (offset, count) in &self.offsets {
            let function = image.function(*offset);
            if function != last {
                lines.push(format!("{function}:"));
                last = function;
            }
            let source = image.innermost_line(*offset)?;
            lines.push(format!(
                "{:8.1}  image+{offset:#x}  {source}",
                self.each(*count)
            ));
        }
        Ok(lines)
    }

    /// How many of the instructions work on much memory: copy, hash, zero or clean it.
    ///
    /// # Errors
    /// The image has no symbols.
    pub fn bulk(&self) -> anyhow::Result<u64> {
        let image = Image::built()?;
        let mut sum = 0;
        for (offset, count) in &self.offsets {
            let is_bulk = BULK.contains(&image.function(*offset).as_str())
                || image
                    .frames(*offset)?
                    .iter()
                    .any(|frame| frame.contains(BULK_FILE));
            if is_bulk {
                sum += count;
            }
        }
        Ok(sum)
    }

    /// How many of the instructions of one go were written in `file` or inlined from it.
    ///
    /// # Errors
    /// The image has no symbols.
    pub fn written_in(&self, file: &str) -> anyhow::Result<f64> {
        let image = Image::built()?;
        let mut sum = 0;
        for (offset, count) in &self.offsets {
            if image
                .frames(*offset)?
                .iter()
                .any(|frame| frame.contains(file))
            {
                sum += count;
            }
        }
        Ok(self.each(sum))
    }

    fn each(&self, count: u64) -> f64 {
        count as f64 / self.windows as f64
    }
}

fn descending<V>(map: BTreeMap<String, V>, by: impl Fn(&V) -> u64) -> Vec<(String, V)> {
    let mut all: Vec<(String, V)> = map.into_iter().collect();
    all.sort_by_key(|(_, value)| std::cmp::Reverse(by(value)));
    all
}

//! The firmware's config.txt: filled in from a board's template, and read as the firmware of a Raspberry Pi 4 reads it.

use anyhow::bail;

/// Puts `values` where `template` has their names in braces. Comments are left alone.
///
/// # Errors
/// A line has a name in braces that is none of them.
pub fn fill(template: &str, values: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut text = String::new();
    for line in template.lines() {
        let mut line = line.to_string();
        if !line.starts_with('#') {
            for (name, value) in values {
                line = line.replace(&format!("{{{name}}}"), value);
            }
            if line.contains('{') {
                bail!("nothing is known for what is in braces in `{line}`");
            }
        }
        text += &line;
        text.push('\n');
    }
    Ok(text)
}

/// What a config.txt says to a Raspberry Pi 4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    settings: Vec<(String, String)>,
    /// The ramdisk's file and where it goes.
    pub initramfs: Option<(String, String)>,
    /// Other files it takes in, which are not looked at here.
    pub includes: Vec<String>,
}

impl Config {
    /// Reads `text`: lines of `key=value` and a few commands; a line in brackets says for whom those after it are.
    pub fn read(text: &str) -> Self {
        let mut config = Self::default();
        let mut ours = true;
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if let Some(filter) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                ours = matches!(filter, "all" | "pi4");
            } else if ours {
                config.take(line);
            }
        }
        config
    }

    fn take(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("initramfs"), Some(file), place) => {
                let place = place.unwrap_or("followkernel");
                self.initramfs = Some((file.to_string(), place.to_string()));
            }
            (Some("include"), Some(file), _) => self.includes.push(file.to_string()),
            _ => {
                if let Some((key, value)) = line.split_once('=') {
                    let setting = (key.trim().to_string(), value.trim().to_string());
                    self.settings.push(setting);
                }
            }
        }
    }

    /// The last value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).last()
    }

    /// All values of `key`, as for overlays.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        let of_key = self.settings.iter().filter(move |(own, _)| own == key);
        of_key.map(|(_, value)| &value[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in_but_for_its_comments() {
        let text = fill("# {kernel}\nkernel={kernel}\n", &[("kernel", "k.img")]).unwrap();
        assert_eq!(text, "# {kernel}\nkernel=k.img\n");
        assert!(fill("x={nothing}\n", &[]).is_err());
    }

    #[test]
    fn the_last_line_for_this_board_counts() {
        let text = "arm_64bit=0 # no\n[pi3]\nkernel=three\n[pi4]\nkernel = four\n[none]\nkernel=no\n\
            [all]\narm_64bit=1\ninitramfs a.cpio\ninitramfs b.cpio 0x8000000\ninclude more.txt\n\
            dtoverlay=x\ndtoverlay=y\n";
        let config = Config::read(text);
        assert_eq!(config.get("kernel"), Some("four"));
        assert_eq!(config.get("arm_64bit"), Some("1"));
        let initramfs = ("b.cpio".to_string(), "0x8000000".to_string());
        assert_eq!(config.initramfs, Some(initramfs));
        assert_eq!(config.includes, ["more.txt"]);
        assert_eq!(config.all("dtoverlay").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(config.get("none"), None);
    }
}

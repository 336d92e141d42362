//! Starting the image otherwise than usual: at EL3, as a boot loader that stays there does, on QEMU virt; or changed.

use std::path::Path;

use anyhow::Context as _;

use crate::bench::symbols::Image;
use crate::workspace;

/// Where the image goes. QEMU puts the tree of a virt that boots no kernel at the start of RAM.
const IMAGE_AT: &str = "0x40200000";
/// `mov x0, #0x40000000; mov x1, #0x40200000; br x1`.
const LOADER: [u32; 3] = [0xd2a8_0000, 0xd2a8_0401, 0xd61f_0020];

/// What asks a GICv2 whether it deactivates by hardware.
const ASKS: &str = "hardware_deactivation_works";
/// `mov w0, #1; ret`: it does.
const YES: [u32; 2] = [0x5280_0020, 0xd65f_03c0];

/// Changes QEMU's `arguments` so that `image` takes the GICv2 for one whose hardware deactivation works.
///
/// # Errors
/// The image does not ask, or a file could not be written to `folder`.
pub fn believing_gicv2(
    arguments: &mut [String],
    image: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let symbols = Image::built()?;
    let mut code = symbols.code.iter();
    let asks = code.find(|(_, name)| name.ends_with(ASKS));
    let (at, _) = asks.with_context(|| format!("the image has no function {ASKS}"))?;
    let mut bytes = std::fs::read(image)?;
    let yes = YES.iter().flat_map(|word| word.to_le_bytes());
    let place = bytes.iter_mut().skip(usize::try_from(*at)?);
    place.zip(yes).for_each(|(to, from)| *to = from);
    let changed = folder.join("believing.img");
    workspace::write(&changed, &bytes)?;
    let usual = image.display().to_string();
    for argument in arguments.iter_mut().filter(|argument| **argument == usual) {
        *argument = changed.display().to_string();
    }
    Ok(())
}

/// Changes QEMU's `arguments` so that `image` is entered at EL3 on one core, its tree in x0.
///
/// # Errors
/// A file could not be written to `folder`.
pub fn at_el3(arguments: &mut Vec<String>, image: &Path, folder: &Path) -> anyhow::Result<()> {
    let loader = folder.join("loader.bin");
    let bytes: Vec<u8> = LOADER.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(&loader, bytes).with_context(|| format!("writing {}", loader.display()))?;
    for option in ["-kernel", "-initrd"] {
        if let Some(at) = arguments.iter().position(|argument| argument == option) {
            arguments.drain(at..at + 2);
        }
    }
    let blob = |file: &Path, rest: &str| {
        let file = file.display();
        format!("loader,file={file},force-raw=on,{rest}")
    };
    let devices = [
        blob(&loader, "addr=0x50000000,cpu-num=0"),
        blob(image, &format!("addr={IMAGE_AT}")),
    ];
    for device in devices {
        arguments.extend(["-device".to_string(), device]);
    }
    arguments.extend(["-machine", "secure=on", "-smp", "1"].map(str::to_string));
    Ok(())
}

# Shared by scripts/run and scripts/test: makes sure that what they need is on the machine, then hands over
# to the host tool (scripts/xtask). Says what it installs and why; touches nothing that is there already.
# Where nothing is missing this takes a few hundredths of a second.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
qemu_needed=10
# What the board qemu-virt can do with.
qemu_least=8
log="$root/target/setup.log"

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' red=$'\e[1;31m' plain=$'\e[0m'
else
    bold='' red='' plain=''
fi

die() {
    printf '%serror%s: %s\n' "$red" "$plain" "$1" >&2
    exit 1
}

# The value of a quoted key in rust-toolchain.toml.
pinned() {
    sed -n "s/^$1 *= *\\[\\{0,1\\}\"\\([^\"]*\\)\".*/\\1/p" "$root/rust-toolchain.toml"
}

# step WHAT COMMAND...: runs a command with its output in the log; shows the log's end if it fails.
step() {
    local what=$1 started=$SECONDS
    shift
    printf '%ssetup%s: %s ...\n' "$bold" "$plain" "$what" >&2
    mkdir -p "$root/target"
    printf '\n== %s: %s\n' "$what" "$*" >>"$log"
    if ! "$@" >>"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        die "this failed: $* (all of its output: $log)"
    fi
    if [ $((SECONDS - started)) -gt 2 ]; then
        printf '%ssetup%s: %s: %s s\n' "$bold" "$plain" "$what" $((SECONDS - started)) >&2
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        # A password prompt needs the terminal; the command itself must not read from it.
        sudo -n true 2>/dev/null || sudo -v </dev/tty || return 1
        sudo "$@"
    else
        echo "this needs root, and there is no sudo: run as root: $*"
        return 1
    fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root "$@"
}

# Refreshes apt's lists, once.
apt_update() {
    if [ -z "${apt_is_fresh:-}" ]; then
        step "refreshing apt's package lists" apt_get update
        apt_is_fresh=yes
    fi
}

# The packages among apt-get's arguments.
package_names() {
    local names=()
    while [ $# -gt 0 ]; do
        case $1 in
            -t) shift ;;
            *) names+=("$1") ;;
        esac
        shift
    done
    echo "${names[*]}"
}

apt_install() {
    local why=$1
    shift
    apt_update
    step "installing $(package_names "$@") ($why)" apt_get install -y --no-install-recommends "$@"
}

need_rustup() {
    local install="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
    if ! command -v rustup >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/rustup" ]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    command -v rustup >/dev/null || die "Rust (rustup) is missing; this command installs it:
  $install"
}

need_rust() {
    local channel target toolchains toolchain found
    channel=$(pinned channel)
    target=$(pinned targets)
    toolchains="${RUSTUP_HOME:-$HOME/.rustup}/toolchains"
    found=
    for toolchain in "$toolchains/$channel"-*; do
        if [ -x "$toolchain/bin/rustc" ] && [ -x "$toolchain/bin/cargo-clippy" ] &&
            [ -x "$toolchain/bin/rustfmt" ] && [ -d "$toolchain/lib/rustlib/$target" ]; then
            found=$toolchain
        fi
    done
    [ -n "$found" ] || step "installing Rust $channel with clippy, rustfmt and the target $target" \
        rustup toolchain install "$channel" --profile minimal --no-self-update \
        --component clippy --component rustfmt --target "$target"
    # From any folder the pinned toolchain, not the folder's.
    export RUSTUP_TOOLCHAIN=$channel
    # Advice for the authors of dependencies, which nobody here can act on.
    export CARGO_FUTURE_INCOMPAT_REPORT_FREQUENCY=never
    command -v cc >/dev/null && return
    command -v apt-get >/dev/null || die "a C linker (cc) is missing: install gcc"
    apt_install "Rust links the host tool with it" libc6-dev gcc
}

# The major version in "QEMU emulator version 10.0.2 ..." or in a package's "1:10.0.2+ds-2".
qemu_major() {
    sed -n 's/^QEMU emulator version \([0-9]*\)\..*/\1/p; s/^ *Candidate: \([0-9]*:\)\{0,1\}\([0-9]*\)\..*/\2/p'
}

need_qemu() {
    local have offered
    have=$(qemu-system-aarch64 --version 2>/dev/null | qemu_major)
    [ "${have:-0}" -ge $qemu_needed ] && return
    command -v apt-get >/dev/null ||
        die "QEMU $qemu_needed or later is missing (qemu-system-aarch64); install it with this system's packages"
    offered=$(apt-cache policy qemu-system-arm 2>/dev/null | qemu_major)
    if [ -z "$offered" ]; then
        apt_update
        offered=$(apt-cache policy qemu-system-arm | qemu_major)
    fi
    if [ "${offered:-0}" -ge $qemu_needed ]; then
        apt_install "the emulator" qemu-system-arm
    elif [ "$(distribution)" != "debian bookworm" ] && [ "${offered:-0}" -ge $qemu_least ]; then
        [ "${have:-0}" -ge $qemu_least ] || apt_install "the emulator" qemu-system-arm
        printf '%swarning%s: QEMU here is %s: enough for the board qemu-virt, but the Raspberry Pi 4 and the counted tests need %s\n' \
            "$red" "$plain" "$offered" $qemu_needed >&2
    elif [ "$(distribution)" = "debian bookworm" ]; then
        # Debian 12's own QEMU is 7.2, which knows no raspi4b.
        need_backports
        apt_install "the emulator; Debian 12's own is 7.2 and has no Raspberry Pi 4" \
            -t bookworm-backports qemu-system-arm
    else
        die "this system offers QEMU ${offered:-none}; $qemu_needed or later is needed: build it from https://www.qemu.org/download/"
    fi
}

distribution() {
    (
        . /etc/os-release 2>/dev/null
        echo "${ID:-unknown} ${VERSION_CODENAME:-unknown}"
    )
}

need_backports() {
    grep -rqs '^[^#]*bookworm-backports' /etc/apt/sources.list /etc/apt/sources.list.d && return
    step "adding bookworm-backports to apt's sources (/etc/apt/sources.list.d/bulkhead-backports.sources)" \
        as_root sh -c "cat >/etc/apt/sources.list.d/bulkhead-backports.sources <<'END'
Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END"
    apt_is_fresh=
}

# What reads a card's image that our own writer has made.
need_card_readers() {
    PATH="$PATH:/usr/sbin:/sbin"
    command -v mdir >/dev/null && command -v sfdisk >/dev/null && command -v fsck.fat >/dev/null && return
    if command -v apt-get >/dev/null; then
        apt_install "they read back the card's image that boot/card makes" dosfstools fdisk mtools
    else
        printf '%swarning%s: without mtools, dosfstools and sfdisk the test boot/card fails: install them\n' "$red" "$plain" >&2
    fi
}

# xtask ARGUMENTS...: sees to everything and becomes the host tool.
xtask() {
    need_rustup
    need_rust
    need_qemu
    if [ ! -x "${CARGO_TARGET_DIR:-$root/target}/debug/xtask" ]; then
        printf '%ssetup%s: building the host tool (a minute or two, once)\n' "$bold" "$plain" >&2
        cargo build --manifest-path "$root/Cargo.toml" --package xtask </dev/null
    fi
    exec cargo run --quiet --manifest-path "$root/Cargo.toml" --package xtask -- "$@"
}

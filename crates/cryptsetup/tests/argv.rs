//! The command lines, word by word.
#![cfg(test)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use expect_test::{Expect, expect};
use strongroom_cryptsetup::{Access, Discards, MappingName, OpenOptions, Pbkdf, Target, command};
use strongroom_exec::{CommandSpec, Program};
use strongroom_secret::{Origin, Passphrase, SecretFile};
use strongroom_types::{EncryptionFormat, GuestSize};

fn check(spec: &CommandSpec<'_>, expected: &Expect) {
    let words: Vec<String> = spec.arguments().map(|word| format!("{word:?}")).collect();
    expected.assert_eq(&words.join(" "));
}

fn program() -> Program {
    Program::at("/bin/true").unwrap()
}

fn key() -> SecretFile {
    SecretFile::new(&Passphrase::generate().unwrap()).unwrap()
}

fn luks1() -> Target {
    Target::new(EncryptionFormat::Luks1, "/dev/vg/lv").unwrap()
}

/// Everything at once that has ever confused a parser of command lines.
fn nasty() -> Target {
    let path = Path::new(OsStr::from_bytes(b"/srv/-v, \xff\"'\n--/--type"));
    Target::new(EncryptionFormat::Luks2, path).unwrap()
}

fn detached() -> Target {
    nasty().with_header("/headers/- h").unwrap()
}

#[test]
fn looking() {
    let p = program();
    check(&command::version(&p), &expect![[r#""--version""#]]);
    check(
        &command::is_luks(&p, &luks1()),
        &expect![[r#""isLuks" "--batch-mode" "--type" "luks1" "/dev/vg/lv""#]],
    );
    check(
        &command::is_luks(&p, &nasty()),
        &expect![[r#""isLuks" "--batch-mode" "--type" "luks2" "/srv/-v, \xFF\"'\n--/--type""#]],
    );
    check(
        &command::uuid(&p, &luks1()),
        &expect![[r#""luksUUID" "--batch-mode" "--type" "luks1" "/dev/vg/lv""#]],
    );
    check(
        &command::uuid(&p, &detached()),
        &expect![[r#""luksUUID" "--batch-mode" "--type" "luks2" "/headers/- h""#]],
    );
    check(
        &command::dump_json(&p, nasty().header_device()),
        &expect![[
            r#""luksDump" "--batch-mode" "--type" "luks2" "--dump-json-metadata" "/srv/-v, \xFF\"'\n--/--type""#
        ]],
    );
}

#[test]
fn testing_a_passphrase() {
    let (p, k) = (program(), key());
    check(
        &command::test_passphrase(&p, &luks1(), &k, None),
        &expect![[
            r#""open" "--batch-mode" "--type" "luks1" "--test-passphrase" "--key-file" "/proc/self/fd/900" "/dev/vg/lv""#
        ]],
    );
    check(
        &command::test_passphrase(&p, &nasty(), &k, Some(31)),
        &expect![[
            r#""open" "--batch-mode" "--type" "luks2" "--test-passphrase" "--key-file" "/proc/self/fd/900" "--token-type" "none" "--key-slot" "31" "/srv/-v, \xFF\"'\n--/--type""#
        ]],
    );
    check(
        &command::test_passphrase(&p, &detached(), &k, None),
        &expect![[
            r#""open" "--batch-mode" "--type" "luks2" "--test-passphrase" "--key-file" "/proc/self/fd/900" "--token-type" "none" "/headers/- h""#
        ]],
    );
}

#[test]
fn keyslots() {
    let (p, old, new) = (program(), key(), key());
    let generated = Pbkdf::for_origin(Origin::Generated);
    let imported = Pbkdf::for_origin(Origin::Imported);
    check(
        &command::add_key(&p, &luks1(), &old, &new, generated),
        &expect![[
            r#""luksAddKey" "--batch-mode" "--type" "luks1" "--pbkdf" "pbkdf2" "--pbkdf-force-iterations" "1000" "--key-file" "/proc/self/fd/900" "/dev/vg/lv" "/proc/self/fd/901""#
        ]],
    );
    check(
        &command::add_key(&p, &nasty(), &old, &new, imported),
        &expect![[
            r#""luksAddKey" "--batch-mode" "--type" "luks2" "--key-file" "/proc/self/fd/900" "/srv/-v, \xFF\"'\n--/--type" "/proc/self/fd/901""#
        ]],
    );
    check(
        &command::change_key(&p, &luks1(), 7, &old, &new, generated),
        &expect![[
            r#""luksChangeKey" "--batch-mode" "--type" "luks1" "--pbkdf" "pbkdf2" "--pbkdf-force-iterations" "1000" "--key-file" "/proc/self/fd/900" "--key-slot" "7" "/dev/vg/lv" "/proc/self/fd/901""#
        ]],
    );
    check(
        &command::change_key(&p, &detached(), 0, &old, &new, imported),
        &expect![[
            r#""luksChangeKey" "--batch-mode" "--type" "luks2" "--key-file" "/proc/self/fd/900" "--key-slot" "0" "/headers/- h" "/proc/self/fd/901""#
        ]],
    );
    check(
        &command::remove_key(&p, &luks1(), &old),
        &expect![[
            r#""luksRemoveKey" "--batch-mode" "--type" "luks1" "--key-file" "/proc/self/fd/900" "/dev/vg/lv""#
        ]],
    );
    check(
        &command::remove_key(&p, &nasty(), &old),
        &expect![[
            r#""luksRemoveKey" "--batch-mode" "--type" "luks2" "--key-file" "/proc/self/fd/900" "/srv/-v, \xFF\"'\n--/--type""#
        ]],
    );
    check(
        &command::kill_slot(&p, &luks1(), 3, &old),
        &expect![[
            r#""luksKillSlot" "--batch-mode" "--type" "luks1" "--key-file" "/proc/self/fd/900" "/dev/vg/lv" "3""#
        ]],
    );
    check(
        &command::kill_slot(&p, &nasty(), 31, &old),
        &expect![[
            r#""luksKillSlot" "--batch-mode" "--type" "luks2" "--key-file" "/proc/self/fd/900" "/srv/-v, \xFF\"'\n--/--type" "31""#
        ]],
    );
}

#[test]
fn headers() {
    let p = program();
    check(
        &command::erase(&p, &luks1()),
        &expect![[r#""luksErase" "--batch-mode" "--type" "luks1" "/dev/vg/lv""#]],
    );
    check(
        &command::erase(&p, &detached()),
        &expect![[r#""luksErase" "--batch-mode" "--type" "luks2" "/headers/- h""#]],
    );
    check(
        &command::back_up_header(&p, &luks1(), Path::new("/b/--erase")),
        &expect![[
            r#""luksHeaderBackup" "--batch-mode" "--type" "luks1" "--header-backup-file" "/b/--erase" "/dev/vg/lv""#
        ]],
    );
    check(
        &command::back_up_header(&p, &nasty(), nasty().device()),
        &expect![[
            r#""luksHeaderBackup" "--batch-mode" "--type" "luks2" "--header-backup-file" "/srv/-v, \xFF\"'\n--/--type" "/srv/-v, \xFF\"'\n--/--type""#
        ]],
    );
    check(
        &command::restore_header(&p, &luks1(), Path::new("/b/--erase")),
        &expect![[
            r#""luksHeaderRestore" "--batch-mode" "--type" "luks1" "--header-backup-file" "/b/--erase" "/dev/vg/lv""#
        ]],
    );
    check(
        &command::restore_header(&p, &nasty(), nasty().device()),
        &expect![[
            r#""luksHeaderRestore" "--batch-mode" "--type" "luks2" "--header-backup-file" "/srv/-v, \xFF\"'\n--/--type" "/srv/-v, \xFF\"'\n--/--type""#
        ]],
    );
}

#[test]
fn mappings() {
    let (p, k) = (program(), key());
    let name: MappingName = "vol-7f2c:1".parse().unwrap();
    check(
        &command::open(&p, &luks1(), &k, &name, OpenOptions::new()),
        &expect![[
            r#""open" "--batch-mode" "--type" "luks1" "--key-file" "/proc/self/fd/900" "/dev/vg/lv" "vol-7f2c:1""#
        ]],
    );
    let options = OpenOptions::new()
        .access(Access::ReadOnly)
        .discards(Discards::Allowed);
    check(
        &command::open(&p, &detached(), &k, &name, options),
        &expect![[
            r#""open" "--batch-mode" "--type" "luks2" "--key-file" "/proc/self/fd/900" "--token-type" "none" "--readonly" "--allow-discards" "--header" "/headers/- h" "/srv/-v, \xFF\"'\n--/--type" "vol-7f2c:1""#
        ]],
    );
    check(
        &command::close(&p, &name),
        &expect![[r#""close" "--batch-mode" "vol-7f2c:1""#]],
    );
    check(
        &command::status(&p, &name),
        &expect![[r#""status" "--batch-mode" "vol-7f2c:1""#]],
    );
    check(
        &command::resize(&p, &name, None, None),
        &expect![[r#""resize" "--batch-mode" "vol-7f2c:1""#]],
    );
    let size = GuestSize::new(1 << 30).unwrap();
    check(
        &command::resize(&p, &name, Some(size), Some(&k)),
        &expect![[
            r#""resize" "--batch-mode" "--key-file" "/proc/self/fd/900" "--size" "2097152" "vol-7f2c:1""#
        ]],
    );
}

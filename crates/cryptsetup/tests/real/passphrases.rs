//! Passphrases that a terminal, a shell or a parser of lines would change, and who gets to see one.

use std::sync::{Arc, Mutex};

use strongroom_cryptsetup::{Cryptsetup, CryptsetupError, Overwrite, Pbkdf, Precaution, RestoreOnto, Target};
use strongroom_exec::{CommandSpec, Completed, RunError, Runner, SystemRunner, Watch};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::EncryptionFormat;

use crate::place::{BOTH, Place, call, cheap, cryptsetup, fresh, key};

fn import(text: &str) -> SecretFile {
    let passphrase = Passphrase::import(text.as_bytes().to_vec().into()).unwrap();
    SecretFile::new(&passphrase).unwrap()
}

#[test]
fn every_byte_of_a_passphrase_counts() {
    let longest = format!("{}é", "x".repeat(Passphrase::MAX - 2));
    let shorter = "x".repeat(Passphrase::MAX - 1);
    for (text, like_it) in [
        (" leading blank", "leading blank"),
        ("trailing blank ", "trailing blank"),
        ("trailing tab\t", "trailing tab"),
        ("        ", "         "),
        ("--key-size=8", "--key-size=9"),
        ("größe-尺寸", "grösse-尺寸"),
        (&*longest, &*shorter),
    ] {
        let (mine, other) = (import(text), import(like_it));
        for format in BOTH {
            let place = Place::new();
            let target = place.volume(format, &mine);
            let tool = cryptsetup();
            tool.test_passphrase(&call(), &target, &mine).unwrap();
            let wrong = tool.test_passphrase(&call(), &target, &other);
            assert!(
                matches!(wrong, Err(CryptsetupError::WrongPassphrase { .. })),
                "{text:?}: {wrong:?}"
            );
            let slot = tool
                .change_key(&call(), &target, &mine, &other, cheap(), Precaution::Waived)
                .unwrap();
            assert_eq!(tool.slots_opened_by(&call(), &target, &other).unwrap(), [slot]);
        }
    }
}

/// Keeps what was said to the tool and what the tool said.
#[derive(Debug, Default)]
struct Eavesdropper(Mutex<Vec<u8>>);

impl Runner for Eavesdropper {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        let done = SystemRunner::new().run(command, watch);
        let mut heard = self.0.lock().unwrap();
        heard.extend(format!("{command:?}\n{done:?}\n").bytes());
        if let Ok(done) = &done {
            heard.extend(&done.stdout);
            heard.extend(&done.stderr);
        }
        done
    }
}

#[test]
fn neither_a_command_nor_the_tool_nor_an_error_says_a_passphrase() {
    let text = "canary passphrase that nobody reads";
    let ear = Arc::new(Eavesdropper::default());
    let tool = Cryptsetup::new(cryptsetup().program().clone(), ear.clone());
    let mut errors = String::new();
    for format in BOTH {
        let (place, canary, other) = (Place::new(), import(text), key());
        let target = place.blank(format);
        let waived = Precaution::Waived;
        let uuid = tool
            .format(&call(), &target, &fresh(), &canary, Overwrite::Nothing)
            .unwrap()
            .header
            .uuid;
        let backup = tool
            .back_up_header(&call(), &target, place.path("backup"))
            .unwrap();
        tool.add_key(&call(), &target, &canary, &other, cheap(), waived)
            .unwrap();
        tool.remove_key(&call(), &target, &canary, &other, waived)
            .unwrap();
        let nothing = Target::new(format, place.file("nothing", 0)).unwrap();
        for failed in [
            tool.test_passphrase(&call(), &target, &canary).unwrap_err(),
            tool.add_key(&call(), &target, &canary, &other, cheap(), waived)
                .unwrap_err(),
            tool.kill_slot(&call(), &target, 1, &canary, waived).unwrap_err(),
            tool.format(&call(), &target, &fresh(), &canary, Overwrite::Nothing)
                .unwrap_err(),
            tool.format(&call(), &nothing, &fresh(), &canary, Overwrite::Nothing)
                .unwrap_err(),
        ] {
            errors += &format!("{failed}\n{failed:?}\n");
        }
        tool.change_key(&call(), &target, &other, &canary, cheap(), waived)
            .unwrap();
        tool.erase(&call(), &target, uuid).unwrap();
        tool.restore_header(&call(), &backup, &target, &canary, RestoreOnto::SameVolume)
            .unwrap();
    }
    let mut heard = std::mem::take(&mut *ear.0.lock().unwrap());
    assert!(heard.windows(10).any(|w| w == b"luksFormat"), "the ear is deaf");
    heard.extend(errors.bytes());
    let hexadecimal: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{:?}", text.as_bytes());
    for sign in [text, &text[..12], &hexadecimal, &decimal[1..30]] {
        let said = heard.windows(sign.len()).any(|window| window == sign.as_bytes());
        assert!(!said, "{sign}: {}", String::from_utf8_lossy(&heard));
    }
}

#[test]
fn a_person_s_passphrase_may_have_a_forced_cost_too() {
    let (place, mine) = (Place::new(), import("correct horse battery staple"));
    let target = place.blank(EncryptionFormat::Luks1);
    let how = strongroom_cryptsetup::Format::new(
        strongroom_cryptsetup::Uuid::new_v4(),
        Pbkdf::pbkdf2(20_000).unwrap(),
    );
    let header = cryptsetup()
        .format(&call(), &target, &how, &mine, Overwrite::Nothing)
        .unwrap()
        .header;
    let kdf = strongroom_cryptsetup::Kdf::Pbkdf2 {
        hash: "sha256".into(),
        iterations: 20_000,
    };
    assert_eq!(header.keyslots[&0].kdf, kdf);
}

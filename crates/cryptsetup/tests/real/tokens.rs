use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
use strongroom_cryptsetup::CryptsetupError;
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::EncryptionFormat;

use crate::place::{Place, call, cryptsetup, key, tool};

/// cryptsetup 2.6.1 by itself tries the tokens of a header before the key file, and reports a wrong passphrase as right when
/// the kernel's keyring has the key.
#[test]
fn a_token_does_not_make_a_wrong_passphrase_right() {
    let passphrase = Passphrase::generate().unwrap();
    let (mine, wrong) = (SecretFile::new(&passphrase).unwrap(), key());
    let place = Place::new();
    let target = place.volume(EncryptionFormat::Luks2, &mine);
    let description = format!("strongroom-test-{}", std::process::id());
    let words = [
        "token".as_ref(),
        "add".as_ref(),
        "--key-description".as_ref(),
        description.as_ref(),
        target.device(),
    ];
    let added = tool("cryptsetup", "cryptsetup-bin", &words);
    assert_eq!(added.code, 0, "{}", added.message());

    let ring = KeyRing::from_special_id(KeyRingIdentifier::User, true);
    let loaded = ring.and_then(|ring| ring.add_key(&description, passphrase.expose_secret()));
    match loaded {
        Ok(loaded) => {
            let program = Program::find("cryptsetup").unwrap();
            let mut spec = CommandSpec::new(program).args([
                "open",
                "--test-passphrase",
                "--type",
                "luks2",
                "--key-file",
            ]);
            let path = wrong.path_in_child(|descriptor| spec.pass(descriptor));
            let fooled = SystemRunner::new()
                .run(&spec.arg(path).arg(target.device()), &Watch::nobody())
                .unwrap();
            assert_eq!(
                fooled.code,
                0,
                "the keyring is not reached, so nothing is proved: {}",
                fooled.message()
            );
            let outcome = cryptsetup().test_passphrase(&call(), &target, &wrong);
            loaded.invalidate().unwrap();
            assert!(
                matches!(outcome, Err(CryptsetupError::WrongPassphrase { .. })),
                "{outcome:?}"
            );
        }
        // Where the kernel keeps keyrings from this process, no token can open anything either.
        Err(KeyError::AccessDenied | KeyError::PermissionDenied | KeyError::OperationNotSupported) => {
            let outcome = cryptsetup().test_passphrase(&call(), &target, &wrong);
            assert!(
                matches!(outcome, Err(CryptsetupError::WrongPassphrase { .. })),
                "{outcome:?}"
            );
        }
        Err(other) => panic!("cannot load a key: {other:?}"),
    }
    cryptsetup().test_passphrase(&call(), &target, &mine).unwrap();
}

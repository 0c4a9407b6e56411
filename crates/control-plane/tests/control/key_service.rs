//! A key-encryption key that takes its time, as one in a service does.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use strongroom_control_plane::ControlPlaneError;
use strongroom_passphrase_store::{KekError, KekId, KeyEncryptionKey};
use strongroom_types::Call;
use zeroize::Zeroizing;

use crate::site::{Site, able_host, id, new_volume};

/// Says that it was asked, and answers when it is told to.
#[derive(Debug)]
struct Slow {
    inner: Arc<dyn KeyEncryptionKey>,
    asked: SyncSender<()>,
    answer: Mutex<Receiver<Result<(), String>>>,
}

impl Slow {
    fn wait(&self) -> Result<(), KekError> {
        self.asked.send(()).unwrap();
        let answer = self.answer.lock().unwrap().recv().unwrap();
        answer.map_err(|reason| KekError::Unavailable { reason })
    }
}

impl KeyEncryptionKey for Slow {
    fn id(&self) -> &KekId {
        self.inner.id()
    }
    fn version(&self) -> u32 {
        self.inner.version()
    }
    fn seal(&self, plaintext: &[u8], additional: &[u8]) -> Result<Vec<u8>, KekError> {
        self.wait()?;
        self.inner.seal(plaintext, additional)
    }
    fn unseal(&self, version: u32, sealed: &[u8], additional: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError> {
        self.wait()?;
        self.inner.unseal(version, sealed, additional)
    }
}

#[test]
fn while_it_works_the_database_can_be_read_and_written() {
    let (site, control) = Site::new();
    drop(control);
    let (asked, was_asked) = sync_channel(0);
    let (tell, answer) = sync_channel(0);
    let answer = Mutex::new(answer);
    let control = site.start_with_kek(|inner| Slow { inner, asked, answer });
    thread::scope(|scope| {
        // Dropped when a check fails, so that the other thread does not wait for ever.
        let (tell, was_asked) = (tell, was_asked);
        let create = scope.spawn(|| control.create_volume(&Call::new(), &new_volume("vol", "secret")));
        // Asked twice: to seal the new passphrase, and to unseal what was stored.
        for host in ["node-1", "node-2"] {
            was_asked.recv().unwrap();
            control.register_host(&able_host(host, &[])).unwrap();
            control.volumes().unwrap();
            tell.send(Ok(())).unwrap();
        }
        create.join().unwrap().unwrap();
    });
    drop(control);
    let control = site.start();
    site.assert_sound(&control);
}

#[test]
fn when_it_refuses_there_is_no_volume_and_no_key() {
    let (site, control) = Site::new();
    drop(control);
    for refusal in [1, 2] {
        let (asked, was_asked) = sync_channel(0);
        let (tell, answer) = sync_channel(0);
        let answer = Mutex::new(answer);
        let control = site.start_with_kek(|inner| Slow { inner, asked, answer });
        thread::scope(|scope| {
            let (tell, was_asked) = (tell, was_asked);
            let create = scope.spawn(|| control.create_volume(&Call::new(), &new_volume("vol", "secret")));
            for number in 1..=refusal {
                was_asked.recv().unwrap();
                tell.send(if number == refusal {
                    Err("the service is sealed".to_owned())
                } else {
                    Ok(())
                })
                .unwrap();
            }
            let refused = create.join().unwrap().unwrap_err();
            assert!(matches!(refused, ControlPlaneError::Key { .. }), "{refused:?}");
            let refused = control.volume(&id("vol")).unwrap_err();
            assert_eq!(refused.to_string(), "there is no volume vol");
        });
        drop(control);
        let control = site.start();
        site.assert_sound(&control);
    }
}

//! Several pieces of work at once.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use strongroom_control_plane::{ControlPlaneError, JobKind, VolumeState};
use strongroom_endpoint_selector::{Endpoint, EndpointError, HostAnswer, HostCommand, RegisteredEndpoints};
use strongroom_types::{Call, HostFacts};

use crate::fragile::FragileHost;
use crate::site::{Site, able_host, create, id, mib};

/// A host that stops before it grows the disk of volume `vol`, says so, and goes on when it is told to.
#[derive(Debug)]
struct Gate {
    inner: Arc<FragileHost>,
    reached: SyncSender<()>,
    open: Mutex<Receiver<()>>,
}

impl Endpoint for Gate {
    fn host(&self) -> HostFacts {
        self.inner.host()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        if let HostCommand::GrowDisk(c) = command
            && c.disk.location.path().ends_with("vol.luks.qcow2")
        {
            self.reached.send(()).unwrap();
            self.open.lock().unwrap().recv().unwrap();
        }
        self.inner.run(call, command)
    }
}

#[test]
fn while_a_host_works_on_one_volume_only_that_volume_is_taken() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    create(&control, "other", "secret");
    drop(control);
    let (reached, was_reached) = sync_channel(0);
    let (go, open) = sync_channel(0);
    let mut endpoints = RegisteredEndpoints::new();
    endpoints.register(Arc::new(Gate {
        inner: site.host.clone(),
        reached,
        open: Mutex::new(open),
    }));
    let control = site.start_with(Arc::new(endpoints));
    let call = Call::new();
    thread::scope(|scope| {
        // Dropped when a check fails, so that the other thread does not wait for ever.
        let go = go;
        let grow = scope.spawn(|| control.grow_volume(&Call::new(), &id("vol"), mib(2)));
        was_reached.recv().unwrap();

        let seen = control.volume(&id("vol")).unwrap();
        assert_eq!(seen.state, VolumeState::Working(JobKind::Grow));
        assert_eq!(seen.state.to_string(), "growing");
        for refused in [
            control.grow_volume(&call, &id("vol"), mib(3)).map(drop),
            control.verify_volume(&call, &id("vol")).map(drop),
            control.create_snapshot(&call, &id("vol"), &id("s")).map(drop),
            control.delete_volume(&call, &id("vol")).map(drop),
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, ControlPlaneError::Busy { .. }), "{refused}");
        }

        // Everything else goes on: rows are written, the same host works on another volume.
        control.register_host(&able_host("node-2", &[])).unwrap();
        control.grow_volume(&call, &id("other"), mib(4)).unwrap();
        create(&control, "third", "secret-raw");

        go.send(()).unwrap();
        assert_eq!(grow.join().unwrap().unwrap().guest, mib(2));
    });
    assert_eq!(control.volume(&id("other")).unwrap().guest, mib(4));
    drop(control);
    let control = site.start();
    assert_eq!(site.assert_sound(&control).len(), 3);
}

#[test]
fn of_many_who_want_the_same_id_one_gets_it() {
    let (site, control) = Site::new();
    let made = thread::scope(|scope| {
        let attempts: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| control.create_volume(&Call::new(), &crate::site::new_volume("vol", "secret")))
            })
            .collect();
        let results: Vec<_> = attempts.into_iter().map(|a| a.join().unwrap()).collect();
        for refused in results.iter().filter_map(|r| r.as_ref().err()) {
            assert!(
                matches!(
                    refused,
                    ControlPlaneError::Busy { .. } | ControlPlaneError::Taken { .. }
                ),
                "{refused}"
            );
        }
        results.iter().filter(|r| r.is_ok()).count()
    });
    assert_eq!(made, 1);
    assert_eq!(site.assert_sound(&control).len(), 1);
}

//! Recovery itself: what it says, what it leaves, what it is not hindered by.

use std::sync::Arc;

use strongroom_control_plane::{
    ControlPlane, ControlPlaneError, JobKind, NewPool, Outcome, Subject, VolumeState,
};
use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostCommand};
use strongroom_storage_pool::PoolError;
use strongroom_storage_pool::fake::{MemoryPool, Moment};
use strongroom_types::Call;

use crate::fragile::Burn;
use crate::site::{Site, able_host, create, id, mib, new_volume};

/// Dies while volume `name` is being made in the pool, after its disk is there.
fn die_in_create(site: &Site, control: Arc<ControlPlane>, name: &str, pool: &str) {
    let mut new = new_volume(name, "secret");
    new.pool = Some(id(pool));
    let before = site.count("jobs");
    let mut control = control;
    for moment in 1.. {
        site.fuse.light(moment, Burn::Kill);
        let new = new.clone();
        let done = site.fuse.run(&control, move |control| {
            control.create_volume(&Call::new(), &new).map(drop)
        });
        site.fuse.put_out();
        assert!(done.is_none(), "it was never killed with a job");
        std::mem::forget(control);
        if site.count("jobs") > before {
            return;
        }
        control = site.start();
    }
}

#[test]
fn what_was_recovered_prints_as_sentences() {
    let (site, control) = Site::new();
    die_in_create(&site, control, "vol", "main");
    let (_, recovered) = site.recover();
    let lines: Vec<_> = recovered.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["volume vol: an earlier process began to create it; this is undone now"]
    );
}

#[test]
fn one_broken_pool_hinders_no_other_and_is_tried_again() {
    let (site, control) = Site::bare(able_host("local", &["good", "bad"]));
    let (good, control) = site.add_memory(control, MemoryPool::new(id("good")));
    let (bad, control) = site.add_memory(control, MemoryPool::new(id("bad")));
    let mut keep = new_volume("keep", "secret");
    keep.pool = Some(id("good"));
    control.create_volume(&Call::new(), &keep).unwrap();
    die_in_create(&site, control, "in-bad", "bad");
    die_in_create(&site, site.start(), "in-good", "good");
    site.broken.lock().unwrap().insert(id("bad"));

    let (control, recovered) = site.recover();
    let of = |name: &str| {
        let one = recovered
            .iter()
            .find(|r| r.subject == Subject::Volume(id(name)))
            .unwrap();
        one.outcome.clone()
    };
    assert_eq!(of("in-good"), Outcome::Undone);
    let Outcome::Failed(reason) = of("in-bad") else {
        panic!("{recovered:?}")
    };
    assert!(reason.contains("the array does not answer"), "{reason}");
    assert_eq!(good.volumes(), [id("keep")]);
    let stuck = control.volume(&id("in-bad")).unwrap();
    assert_eq!(stuck.state, VolumeState::Failed(JobKind::Create));
    // The rest of the site works.
    control.grow_volume(&Call::new(), &id("keep"), mib(2)).unwrap();
    // What is stuck says why, and what can be done.
    let refused = control
        .grow_volume(&Call::new(), &id("in-bad"), mib(2))
        .unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, ControlPlaneError::Unfinished { .. }), "{text}");
    assert!(
        text.contains("create it") && text.contains("does not answer"),
        "{text}"
    );

    site.broken.lock().unwrap().clear();
    let (control, recovered) = site.recover();
    assert_eq!(recovered.len(), 1);
    assert_eq!(recovered[0].outcome, Outcome::Undone);
    assert_eq!(bad.volumes(), []);
    assert_eq!(site.count("passphrases"), 1);
    control.volume(&id("in-bad")).unwrap_err();
}

#[test]
fn a_pool_that_cannot_be_swept_keeps_its_jobs() {
    let (site, control) = Site::bare(able_host("local", &["pool"]));
    let (pool, control) = site.add_memory(control, MemoryPool::new(id("pool")));
    die_in_create(&site, control, "vol", "pool");
    pool.fail_when(|moment, call| {
        let fails = moment == Moment::Before && call.operation == "recover";
        fails.then(|| PoolError::new(ErrorKind::Io, "recover", "staging files stay"))
    });
    let (_, recovered) = site.recover();
    let Outcome::Failed(reason) = &recovered[0].outcome else {
        panic!("{recovered:?}")
    };
    let begin = "pool pool cannot remove what earlier work left: ";
    assert!(reason.starts_with(begin), "the pool is named once: {reason}");
    assert!(reason.contains("staging files stay"), "{reason}");
    pool.fail_when(|_, _| None);
    let (_, recovered) = site.recover();
    assert_eq!(recovered[0].outcome, Outcome::Undone);
}

#[test]
fn pools_without_unfinished_work_are_left_alone() {
    let (site, control) = Site::bare(able_host("local", &["pool"]));
    let (pool, control) = site.add_memory(control, MemoryPool::new(id("pool")));
    let before = pool.calls().len();
    drop(control);
    site.recover();
    assert_eq!(pool.calls().len(), before);
}

#[test]
fn a_volume_whose_create_cannot_be_undone_can_be_deleted() {
    let (site, control) = Site::bare(able_host("local", &["pool"]));
    let (pool, control) = site.add_memory(control, MemoryPool::new(id("pool")));
    pool.fail_when(|_, call| {
        let fails = call.operation == "delete" || call.operation == "create";
        fails.then(|| PoolError::new(ErrorKind::Io, "test", "the array does not answer"))
    });
    let error = control
        .create_volume(&Call::new(), &new_volume("vol", "secret"))
        .unwrap_err();
    assert!(matches!(error, ControlPlaneError::NotUndone { .. }), "{error}");
    assert_eq!(error.kind(), Some(ErrorKind::Io));
    assert_eq!(
        control.volume(&id("vol")).unwrap().state,
        VolumeState::Failed(JobKind::Create)
    );
    pool.fail_when(|_, _| None);
    control.delete_volume(&Call::new(), &id("vol")).unwrap();
    assert_eq!(pool.volumes(), []);
    for table in ["volumes", "passphrases", "passphrase_references", "jobs"] {
        assert_eq!(site.count(table), 0, "{table}");
    }
}

#[test]
fn a_caller_who_stops_recovery_finds_the_rest_next_time() {
    let (site, control) = Site::new();
    die_in_create(&site, control, "a", "main");
    die_in_create(&site, site.start(), "b", "main");
    let call = Call::new();
    call.cancellation().cancel();
    let stopped = site.start().recover(&call).unwrap_err();
    assert!(
        matches!(stopped, ControlPlaneError::Interrupted { .. }),
        "{stopped}"
    );
    assert_eq!(site.count("jobs"), 2);
    assert_eq!(site.count("jobs WHERE failure IS NOT NULL"), 0);
    let (control, recovered) = site.recover();
    assert_eq!(recovered.len(), 2);
    site.assert_sound(&control);
}

#[test]
fn a_missing_key_fails_its_own_job_only() {
    let (site, control) = Site::new();
    let (one, other) = (
        create(&control, "one", "secret"),
        create(&control, "other", "secret"),
    );
    for volume in [&one, &other] {
        site.fuse.kill_after("GrowDisk");
        let volume = volume.clone();
        let done = site.fuse.run(&control, move |control| {
            control.grow_volume(&Call::new(), &volume, mib(2)).map(drop)
        });
        assert_eq!(done.map(drop), None);
    }
    std::mem::forget(control);
    // The disks did not get there, and one key is damaged.
    site.sql(
        "UPDATE jobs SET arguments = '{\"grow\":{\"to\":4194304}}';
        UPDATE passphrases SET sealed = zeroblob(length(sealed)) WHERE volume = 'one'",
    );
    let (control, recovered) = site.recover();
    assert!(
        recovered.iter().all(|r| !matches!(r.outcome, Outcome::Failed(_))),
        "{recovered:?}"
    );
    // Without its key it is not grown, but its size is known.
    assert_eq!(control.volume(&one).unwrap().guest, mib(2));
    assert_eq!(control.volume(&other).unwrap().guest, mib(4));
    let refused = control.grow_volume(&Call::new(), &one, mib(8)).unwrap_err();
    assert!(matches!(refused, ControlPlaneError::Key { .. }), "{refused}");
    assert_eq!(site.count("jobs"), 0);
}

#[test]
fn a_pool_that_is_added_again_is_refused_and_one_that_fails_is_not_added() {
    let (site, control) = Site::bare(able_host("local", &["main", "main-2"]));
    let settings = [("directory".to_owned(), "/pools/main".to_owned())];
    let new = NewPool::new(id("main"), "file", settings);
    control.add_pool(&Call::new(), &new).unwrap();
    let again = NewPool::new(
        id("main"),
        "file",
        [("directory".to_owned(), "/other".to_owned())],
    );
    let refused = control.add_pool(&Call::new(), &again).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "pool main is there already; choose another name"
    );
    assert_eq!(control.pools().unwrap()[0].settings["directory"], "/pools/main");
    site.broken.lock().unwrap().insert(id("far"));
    let refused = control
        .add_pool(&Call::new(), &NewPool::new(id("far"), "file", []))
        .unwrap_err();
    assert!(matches!(refused, ControlPlaneError::Pool { .. }), "{refused}");
    let refused = control
        .add_pool(&Call::new(), &NewPool::new(id("odd"), "tape", []))
        .unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::Unsupported));
    site.host.inner.fail_when(|command| {
        let error = EndpointError::new(ErrorKind::NotFound, command.name(), "no such directory");
        matches!(command, HostCommand::OpenDirectory(_)).then_some(error)
    });
    let settings = [("directory".to_owned(), "/nowhere".to_owned())];
    let refused = control
        .add_pool(&Call::new(), &NewPool::new(id("main-2"), "file", settings))
        .unwrap_err();
    assert!(matches!(refused, ControlPlaneError::Pool { .. }), "{refused}");
    assert_eq!(control.pools().unwrap().len(), 1);
}

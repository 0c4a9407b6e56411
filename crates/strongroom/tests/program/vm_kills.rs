//! The program is killed right after libvirt did something for it. The next command brings the machine in order.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::vms::Hosted;

/// From now on virsh kills the program that started it, after it has done a command of this name.
fn deadly(hosted: &Hosted, word: &str) {
    let script = format!(
        "#!/bin/sh\n\
         case \" $* \" in *\" {word} \"*) /usr/bin/virsh \"$@\"; kill -KILL $PPID; exit 1;; esac\n\
         exec /usr/bin/virsh \"$@\"\n"
    );
    let (draft, virsh) = (
        hosted.machine.path().join("draft"),
        hosted.machine.tools().join("virsh"),
    );
    fs::write(&draft, script).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(draft, virsh).unwrap();
}

fn harmless(hosted: &Hosted) {
    let virsh = hosted.machine.tools().join("virsh");
    fs::remove_file(&virsh).unwrap();
    std::os::unix::fs::symlink("/usr/bin/virsh", virsh).unwrap();
}

/// Whether the machine runs, on which record and libvirt agree, and with which disks. No key is left.
#[track_caller]
fn agreed(hosted: &Hosted, word: &str) -> (bool, Vec<String>) {
    let shown = hosted.ok(&["vm", "show", "guest"]);
    let runs = !hosted.listed(&["-q", "list", "--all", "--name"]).is_empty();
    let state = if runs { "running" } else { "stopped" };
    assert_eq!(shown["state"], state, "{word}: {shown}");
    let targets = |disks: &serde_json::Value| -> Vec<String> {
        let disks = disks.as_array().unwrap().iter();
        disks
            .map(|disk| disk["target"].as_str().unwrap().to_owned())
            .collect()
    };
    let disks = targets(&shown["disks"]);
    if runs {
        assert_eq!(shown["guest"]["state"], "running", "{word}: {shown}");
        assert_eq!(targets(&shown["guest"]["disks"]), disks, "{word}: {shown}");
    }
    hosted.assert_no_secret();
    (runs, disks)
}

#[test]
fn a_killed_start_stop_attach_or_detach_is_finished_or_undone_by_the_next_command() {
    let hosted = Hosted::with_pool();
    for (volume, offering) in [("root", "secret"), ("data", "secret-raw")] {
        hosted.ok(&["volume", "create", volume, "--offering", offering, "--size", "4M"]);
    }
    hosted.ok(&["vm", "create", "guest", "--memory", "64M", "--disk", "root"]);
    let killed = |word: &str, args: &[&str]| {
        deadly(&hosted, word);
        let done = hosted.run(args);
        assert_eq!(done.code, None, "{word}: {} {}", done.stdout, done.stderr);
        harmless(&hosted);
    };
    for word in [
        "secret-define",
        "secret-set-value",
        "create",
        "secret-undefine",
        "resume",
    ] {
        killed(word, &["vm", "start", "guest"]);
        let (runs, _) = agreed(&hosted, word);
        assert_eq!(runs, word == "resume", "{word}");
        hosted.ok(&["vm", "stop", "guest", "--power-off"]);
    }
    hosted.ok(&["vm", "start", "guest"]);
    killed("attach-device", &["vm", "attach", "guest", "data:vdb"]);
    assert_eq!(
        agreed(&hosted, "attach-device"),
        (true, vec!["vda".to_owned(), "vdb".to_owned()])
    );
    killed("destroy", &["vm", "stop", "guest", "--power-off"]);
    assert!(!agreed(&hosted, "destroy").0);
    let shown = hosted.ok(&["vm", "show", "guest"]);
    assert_eq!(shown["host"], json!(null));
    hosted.ok(&["vm", "delete", "guest"]);
    assert_eq!(hosted.machine.assert_sound(), ["data", "root"]);
}

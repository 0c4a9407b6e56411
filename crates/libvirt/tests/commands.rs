//! The command lines of virsh, and what becomes of its answers. Nothing is started.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use strongroom_exec::fake::{FailingRunner, Failure, RecordingRunner, ScriptedRunner, program};
use strongroom_exec::{Completed, Runner};
use strongroom_libvirt::{
    Connection, DomainDisk, Image, LibvirtError, MachineState, Refusal, SecretName, Source, Uri,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, Cancellation, DiskFormat, Interrupted};

const VIRSH: &str = "/usr/bin/virsh --quiet --connect qemu:///system";
const VM: &str = "8e64a16e-3c83-802d-bf07-1d8470fd50f4";
const SECRET: &str = "7a8ec538-1e70-8997-a13b-c582eed811a8";

fn connection(runner: Arc<dyn Runner>) -> Connection {
    Connection::new(program("/usr/bin/virsh"), runner, Uri::system())
}

fn secret() -> SecretName {
    SecretName::new(&"vol-1".parse().unwrap(), &"pp-1".parse().unwrap())
}

fn arguments(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn a_key_goes_by_descriptor_and_never_by_argument() {
    let runner = Arc::new(RecordingRunner::answering(Completed::new(0, "", "")));
    let libvirt = connection(runner.clone());
    let key = Passphrase::generate().unwrap();
    libvirt.load_secret(&Call::new(), &secret(), &key).unwrap();
    libvirt.unload_secret(&Call::new(), &secret()).unwrap();
    assert_eq!(
        runner.lines(),
        [
            format!("{VIRSH} secret-define --file /proc/self/fd/900"),
            format!("{VIRSH} secret-set-value --secret {SECRET} --file /proc/self/fd/900 --plain"),
            format!("{VIRSH} secret-undefine --secret {SECRET}"),
        ]
    );
    assert_eq!(runner.commands()[1].descriptors(), 1);
}

#[test]
fn a_definition_whose_value_cannot_be_set_is_removed_again() {
    let script = Arc::new(
        ScriptedRunner::new()
            .on(
                format!("{VIRSH} secret-define --file /proc/self/fd/900"),
                Completed::new(0, "", ""),
            )
            .on(
                format!("{VIRSH} secret-set-value --secret {SECRET} --file /proc/self/fd/900 --plain"),
                Failure::Deadline,
            )
            .on(
                format!("{VIRSH} secret-undefine --secret {SECRET}"),
                Completed::new(0, "", ""),
            ),
    );
    let key = Passphrase::generate().unwrap();
    let error = connection(script.clone())
        .load_secret(&Call::new(), &secret(), &key)
        .unwrap_err();
    assert!(matches!(
        error,
        LibvirtError::Interrupted {
            action: "secret-set-value",
            source: Interrupted::Deadline
        }
    ));
    script.finish().unwrap();
}

#[test]
fn machines_are_asked_for_by_uuid() {
    let runner = Arc::new(RecordingRunner::answering(Completed::new(0, "paused\n", "")));
    let libvirt = connection(runner.clone());
    let machine = libvirt.machine(&"vm-1".parse().unwrap());
    let call = Call::new();
    assert_eq!(machine.state(&call).unwrap(), MachineState::Paused);
    machine.destroy(&call).unwrap();
    machine.shut_down(&call).unwrap();
    machine.suspend(&call).unwrap();
    machine.resume(&call).unwrap();
    let disk = DomainDisk::new(
        "vdb".parse().unwrap(),
        Image::plain(Source::File("/v".into()), DiskFormat::Raw),
    );
    machine.attach(&call, &disk).unwrap();
    let expected =
        ["destroy", "shutdown", "suspend", "resume"].map(|action| format!("{VIRSH} {action} --domain {VM}"));
    assert_eq!(
        runner.lines()[0],
        format!("{VIRSH} domstate --domain {VM} --reason")
    );
    assert_eq!(runner.lines()[1..5], expected);
    assert_eq!(
        runner.lines()[5],
        format!("{VIRSH} attach-device --domain {VM} --file /proc/self/fd/900 --live")
    );
    assert!(
        runner
            .commands()
            .iter()
            .all(|command| command.time_limit().unwrap() <= Duration::from_secs(120))
    );
}

#[test]
fn only_secrets_of_ours_are_listed_whatever_others_are_called() {
    let list = format!(
        " {SECRET}   volume /strongroom/vol-1/pp-1\n 11111111-1111-4111-8111-111111111111   volume /strongroom/vol-1/pp-1\n \
         22222222-2222-4222-8222-222222222222   ceph client.admin secret\n 33333333-3333-4333-8333-333333333333   Unused\n\n"
    );
    let libvirt = connection(Arc::new(RecordingRunner::answering(Completed::new(0, list, ""))));
    assert_eq!(libvirt.secrets(&Call::new()).unwrap(), [secret()]);
}

#[test]
fn nothing_is_started_for_a_call_that_is_over() {
    let runner = Arc::new(RecordingRunner::answering(Completed::new(0, "", "")));
    let libvirt = connection(runner.clone());
    let stop = Cancellation::new();
    stop.cancel();
    let cancelled = libvirt.secrets(&Call::new().with_cancellation(stop)).unwrap_err();
    assert!(matches!(
        cancelled,
        LibvirtError::Interrupted {
            source: Interrupted::Cancelled,
            ..
        }
    ));
    let late = libvirt
        .secrets(&Call::new().with_timeout(Duration::ZERO))
        .unwrap_err();
    assert!(matches!(
        late,
        LibvirtError::Interrupted {
            source: Interrupted::Deadline,
            ..
        }
    ));
    assert_eq!(runner.lines(), [""; 0]);
}

#[test]
fn a_virsh_that_does_not_run_to_its_end_is_told_apart_from_one_that_was_stopped() {
    let failing = |failure| {
        let libvirt = connection(Arc::new(FailingRunner::new(failure)));
        libvirt.secrets(&Call::new()).unwrap_err()
    };
    assert!(matches!(
        failing(Failure::Cancelled),
        LibvirtError::Interrupted {
            source: Interrupted::Cancelled,
            ..
        }
    ));
    assert!(matches!(
        failing(Failure::OutputLimit),
        LibvirtError::Run {
            action: "secret-list",
            ..
        }
    ));
}

#[test]
fn an_answer_of_the_monitor_is_its_return_or_an_error() {
    let answering =
        |text: &str| connection(Arc::new(RecordingRunner::answering(Completed::new(0, text, ""))));
    let ask = |text: &str| {
        let libvirt = answering(text);
        let machine = libvirt.machine(&"vm-1".parse().unwrap());
        machine.monitor(&Call::new(), "query-status", Map::new())
    };
    assert_eq!(
        ask(r#"{"return":{"running":true},"id":"libvirt-9"}"#).unwrap(),
        json!({"running": true})
    );
    let refused =
        ask(r#"{"id":"libvirt-9","error":{"class":"GenericError","desc":"no such\nthing"}}"#).unwrap_err();
    assert_eq!(refused.to_string(), "QEMU refused query-status: no such thing");
    assert!(matches!(refused, LibvirtError::Monitor { class, .. } if class == "GenericError"));
    for text in ["", "{", "[]", "{}", "3"] {
        assert!(matches!(ask(text), Err(LibvirtError::Output { .. })), "{text}");
    }
}

#[test]
fn the_monitor_is_told_json_and_no_key_and_no_end() {
    let runner = Arc::new(RecordingRunner::answering(Completed::new(
        0,
        r#"{"return":{}}"#,
        "",
    )));
    let libvirt = connection(runner.clone());
    let machine = libvirt.machine(&"vm-1".parse().unwrap());
    let call = Call::new();
    machine.delete_node(&call, "libvirt-1-storage").unwrap();
    let told = runner.commands()[0]
        .arguments()
        .last()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        told,
        json!({"execute": "blockdev-del", "arguments": {"node-name": "libvirt-1-storage"}})
    );

    for (command, said) in [
        ("quit", json!({})),
        ("migrate", json!({"uri": "tcp:h2:1"})),
        ("human-monitor-command", json!({"command-line": "savevm a"})),
        (
            "object-add",
            json!({"qom-type": "secret", "id": "s", "data": "KEY-TEXT"}),
        ),
    ] {
        let refused = machine.monitor(&call, command, arguments(said)).unwrap_err();
        assert!(
            matches!(&refused, LibvirtError::Refused(Refusal::Monitor(name, _)) if name == command),
            "{refused:?}"
        );
        assert!(!refused.to_string().contains("KEY-TEXT"));
    }
    assert_eq!(runner.lines().len(), 1);
}

//! Encrypted content that is wanted in clear.
use std::fs;
use std::sync::{Arc, Mutex};

use strongroom_endpoint_selector::{
    ContentSource, CreateDisk, Declassification, Disk, DiskContent, ErrorKind, Protection, ReplaceContent,
};
use strongroom_types::DiskFormat;

use crate::bench::{Bench, size};
use crate::canary::{content, digest, only_in, sha256sum};
use crate::copies::{FORMATS, MIB, WHY, copy, filled};

#[test]
fn encrypted_content_becomes_plain_only_where_somebody_says_why() {
    let bench = Bench::new();
    fs::write(bench.path("file"), content(1 << 20)).unwrap();
    for from in FORMATS {
        filled(&bench, "disk", from, bench.luks(), "file");
        let source = bench.at("disk");
        let source = Disk::new(&source, from, bench.luks());
        for to in FORMATS {
            let plain = Protection::Plain;
            let refused = copy(&bench, to, MIB, plain, DiskContent::Copy(source)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
            let silent = DiskContent::Declassified(source, Declassification { reason: " \n" });
            let refused = copy(&bench, to, MIB, plain, silent).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
            bench.create("plain", to, MIB, plain).unwrap();
            let there = bench.at("plain");
            let there = Disk::new(&there, to, plain);
            let refused = bench
                .run(ReplaceContent::new(there, ContentSource::Disk(source)))
                .unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
            only_in(&bench, &["file"]);
            copy(&bench, to, MIB, plain, DiskContent::Declassified(source, WHY)).unwrap();
            bench.disk(ReplaceContent::new(
                there,
                ContentSource::Declassified(source, WHY),
            ));
            only_in(&bench, &["file", "copy", "plain"]);
            let location = bench.at("copy");
            for disk in [Disk::new(&location, to, plain), there] {
                assert_eq!(digest(&bench, disk), sha256sum(&bench.path("file")));
            }
            for name in ["copy", "plain"] {
                fs::remove_file(bench.path(name)).unwrap();
            }
        }
        fs::remove_file(bench.path("disk")).unwrap();
    }
}

#[test]
fn a_declassification_is_in_the_log_on_one_line() {
    let bench = Bench::new();
    fs::write(bench.path("file"), content(1 << 20)).unwrap();
    filled(&bench, "disk", DiskFormat::Qcow2, bench.luks(), "file");
    let source = bench.at("disk");
    let source = Disk::new(&source, DiskFormat::Qcow2, bench.luks());
    let why = Declassification {
        reason: "ticket 4711\nall is well",
    };
    let lines = Arc::new(Lines::default());
    tracing::dispatcher::with_default(&tracing::Dispatch::from(Arc::clone(&lines)), || {
        let content = DiskContent::Declassified(source, why);
        copy(&bench, DiskFormat::Raw, MIB, Protection::Plain, content).unwrap();
    });
    tracing::dispatcher::with_default(&tracing::Dispatch::from(Arc::clone(&lines)), || {
        let content = DiskContent::Declassified(source, Declassification { reason: "\t" });
        let path = bench.path("other");
        let plain = Protection::Plain;
        let refused = bench.run(CreateDisk::new(&path, DiskFormat::Raw, size(MIB), plain, content));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidRequest);
    });
    let lines = lines.0.lock().unwrap();
    let said: Vec<_> = lines.iter().filter(|l| l.contains("in clear")).collect();
    assert_eq!(said.len(), 1, "{lines:?}");
    for part in ["WARN", "ticket 4711\\nall is well", "/disk", "/copy"] {
        assert!(said[0].contains(part), "{part}: {said:?}");
    }
    assert!(
        !said[0].contains('\n') && !said[0].contains("staging"),
        "{said:?}"
    );
}

/// Keeps what is logged at info and above.
#[derive(Debug, Default)]
struct Lines(Mutex<Vec<String>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
                self.0 += &format!(" {field}={value}");
            }
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {field}={value:?}");
            }
        }
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

//! qcow2 against `qemu-img info`.

use serde_json::Value;
use strongroom_image::{Compression, Disk, Encryption, Qcow2Header, read_disk};

use crate::lab::{Lab, qcow2, succeeds};
use crate::lies::put;
use crate::luks1::agrees_with_qemu;

#[track_caller]
fn agrees(ours: &Qcow2Header, info: &Value) {
    let data = &info["format-specific"]["data"];
    // QEMU shows whole sectors.
    assert_eq!(info["virtual-size"], ours.size);
    assert_eq!(info["cluster-size"], ours.cluster_size);
    assert_eq!(data["compat"], if ours.version == 2 { "0.10" } else { "1.1" });
    let compression = match ours.compression {
        Compression::Zlib => "zlib",
        Compression::Zstd => "zstd",
        other => panic!("{other:?}"),
    };
    assert_eq!(data["compression-type"], compression);
    assert_eq!(data["refcount-bits"], ours.refcount_bits);
    if ours.version == 3 {
        assert_eq!(data["lazy-refcounts"], ours.features.lazy_refcounts);
        assert_eq!(data["corrupt"], ours.features.corrupt);
        assert_eq!(data["extended-l2"], ours.features.extended_l2);
    }
    assert_eq!(info["dirty-flag"], ours.features.dirty);
    assert_eq!(data["bitmaps"].is_array(), ours.features.bitmaps);
    let snapshots = info["snapshots"].as_array().map_or(0, Vec::len);
    assert_eq!(snapshots, ours.snapshots as usize);
    assert_eq!(
        info["encrypted"].as_bool().unwrap_or(false),
        ours.encryption != Encryption::None
    );
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let name = |name: &std::ffi::OsString| name.to_str().unwrap().to_owned();
    assert_eq!(
        text(&info["backing-filename"]),
        ours.backing.as_ref().map(|b| name(&b.name))
    );
    assert_eq!(
        text(&info["backing-filename-format"]),
        ours.backing.as_ref().and_then(|b| b.format.as_ref()).map(name)
    );
    assert_eq!(
        text(&data["data-file"]),
        ours.data_file.as_ref().and_then(|d| d.name.as_ref()).map(name)
    );
    assert_eq!(
        data["data-file-raw"].as_bool().unwrap_or(false),
        ours.features.raw_data_file
    );
    match &ours.luks {
        None => assert_ne!(data["encrypt"]["format"], "luks"),
        Some(luks) => {
            assert_eq!(data["encrypt"]["format"], "luks");
            agrees_with_qemu(&luks.header, &data["encrypt"]);
        }
    }
}

#[test]
fn images_read_as_qemu_reads_them() {
    for (options, size) in [
        ("", 1 << 20),
        ("", 0),
        ("", 1000),
        ("", (3 << 40) + 512),
        ("cluster_size=512", 64 << 20),
        ("cluster_size=512,compat=0.10", 1 << 20),
        ("cluster_size=4k,refcount_bits=1", 1 << 30),
        ("cluster_size=2M,refcount_bits=64", 1 << 50),
        ("compat=0.10", 1 << 30),
        ("lazy_refcounts=on", 1 << 20),
        ("extended_l2=on", 1 << 40),
        ("extended_l2=on,cluster_size=16k", 1 << 20),
        ("compression_type=zstd", 1 << 20),
        ("preallocation=metadata", 64 << 20),
        ("preallocation=full", 1 << 20),
        ("encrypt.format=aes,encrypt.key-secret=key", 1 << 20),
    ] {
        let lab = Lab::new();
        let ours = qcow2(&lab.qcow2("disk", size, options)).unwrap_or_else(|e| panic!("{options}: {e}"));
        agrees(&ours, &lab.info("qcow2", "disk"));
        assert_eq!(read_disk(lab.path("disk")).unwrap(), Disk::Qcow2(Box::new(ours)));
    }
}

#[test]
fn images_with_luks_read_as_qemu_reads_them() {
    for options in [
        "",
        ",cluster_size=2M",
        ",cluster_size=512,compat=0.10,encrypt.cipher-alg=aes-128",
    ] {
        let lab = Lab::new();
        let luks = "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10";
        let ours = qcow2(&lab.qcow2("disk", 1 << 20, &format!("{luks}{options}"))).unwrap();
        let embedded = ours.luks.as_ref().unwrap();
        assert_eq!(ours.encryption, Encryption::Luks);
        assert_eq!(embedded.header.active_keyslots(), 1);
        assert_eq!(embedded.length, embedded.header.payload_offset.get());
        agrees(&ours, &lab.info("qcow2", "disk"));
    }
}

#[test]
fn names_of_other_files_are_found() {
    let lab = Lab::new();
    lab.qcow2("base", 1 << 20, "");
    for (file, format) in [("base", "qcow2"), ("odd name, with=comma", "raw")] {
        lab.qcow2(file, 1 << 20, "");
        let (base, disk) = (lab.arg(file), lab.arg("overlay"));
        let args = ["create", "-q", "-f", "qcow2", "-b", &base, "-F", format, &disk];
        succeeds("qemu-img", &args);
        let mut bytes = std::fs::read(&disk).unwrap();
        let ours = qcow2(&bytes).unwrap();
        assert_eq!(ours.backing.as_ref().unwrap().name, *base);
        agrees(&ours, &lab.info("qcow2", "overlay"));
        // Older images say no format: here the extension gets a type that nobody knows.
        put(&mut bytes, 112, 0x1234_5678u32);
        std::fs::write(&disk, &bytes).unwrap();
        let ours = qcow2(&bytes).unwrap();
        assert_eq!(ours.backing.as_ref().unwrap().format, None);
        agrees(&ours, &lab.info("qcow2", "overlay"));
    }
    for raw in ["off", "on"] {
        let options = format!("data_file={},data_file_raw={raw}", lab.arg("data"));
        let ours = qcow2(&lab.qcow2("disk", 1 << 20, &options)).unwrap();
        agrees(&ours, &lab.info("qcow2", "disk"));
        let _ = std::fs::remove_file(lab.path("data"));
    }
}

#[test]
fn snapshots_bitmaps_and_resizes_are_followed() {
    let lab = Lab::new();
    let disk = lab.arg("disk");
    lab.qcow2("disk", 8 << 20, "cluster_size=512");
    for args in [
        &["snapshot", "-c", "one", &disk][..],
        &["resize", "-q", &disk, "100M"],
        &["snapshot", "-c", "two", &disk],
        &["bitmap", "--add", &disk, "changes"],
        &["snapshot", "-d", "one", &disk],
        &["bitmap", "--remove", &disk, "changes"],
        &["snapshot", "-d", "two", &disk],
        &["resize", "-q", "--shrink", &disk, "1M"],
        &["amend", "-o", "compat=0.10", &disk],
    ] {
        succeeds("qemu-img", args);
        let ours = qcow2(&std::fs::read(&disk).unwrap()).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        agrees(&ours, &lab.info("qcow2", "disk"));
    }
}

use std::path::Path;

use strongroom_exec::{CommandSpec, Runner, SystemRunner, Watch};
use strongroom_qemu_img::{
    Commit, Convert, Create, Declassify, Encrypted, Image, Layout, NewImage, Qcow2Options, QemuImgError,
    Rebase, Refusal,
};
use strongroom_types::Call;

use crate::{CANARY, KEY, Lab, OTHER_KEY, SIZE, content, fast, has_canary, run, same, size, tool};

/// An overlay with its own key over an encrypted base, as a copy of one file for all that needs one.
fn overlay(lab: &Lab, name: &str, base: &Image<'static, Encrypted>) -> Image<'static, Encrypted> {
    let new = NewImage::new(
        lab.path(name),
        Layout::qcow2_luks(&OTHER_KEY, Qcow2Options::new(), fast()),
    )
    .backed_by(base);
    run(&Create::like_base(&new)).unwrap();
    Image::qcow2_luks(lab.path(name), &OTHER_KEY).backed_by(base.clone())
}

fn backing_name(lab: &Lab, name: &str) -> Option<String> {
    let info = tool()
        .info(&Image::qcow2_luks(lab.path(name), &OTHER_KEY), &Call::new())
        .unwrap();
    info.backing.map(|backing| backing.name)
}

#[test]
fn an_encrypted_overlay_over_an_encrypted_base_is_committed_and_rebased() {
    let lab = Lab::new();
    let base = lab.qcow2_luks("base");
    let top = overlay(&lab, "top", &base);
    let template = Image::raw(lab.template());
    assert!(same(&template, &top));

    // What the guest writes goes to the overlay, encrypted; then to the base.
    let new = Image::raw(lab.write("new", &content(b"canary-in-a-strongroom, changed")));
    run(&Convert::new(&new, &top)).unwrap();
    assert!(same(&template, &base) && same(&new, &top));
    run(&Commit::of(&top)).unwrap();
    assert!(same(&new, &base) && same(&new, &top));
    assert!(!has_canary(top.location().path()) && !has_canary(base.location().path()));

    // Onto another encrypted base: the difference is copied up, and the header has the plain name.
    let other = lab.luks("other,base");
    tool().rebase(&Rebase::onto(&top, &other), &Call::new()).unwrap();
    assert_eq!(
        backing_name(&lab, "top").as_deref(),
        lab.path("other,base").to_str()
    );
    let top = Image::qcow2_luks(lab.path("top"), &OTHER_KEY).backed_by(other.clone());
    assert!(same(&new, &top));
    assert!(same(&template, &other));

    // The base is moved, then not needed any more.
    let moved = lab.path("moved");
    std::fs::rename(lab.path("other,base"), &moved).unwrap();
    let moved = Image::luks(&moved, &KEY);
    tool()
        .rebase(&Rebase::rename(&top, &moved), &Call::new())
        .unwrap();
    assert_eq!(
        backing_name(&lab, "top").as_deref(),
        moved.location().path().to_str()
    );
    let top = Image::qcow2_luks(lab.path("top"), &OTHER_KEY).backed_by(moved);
    tool().rebase(&Rebase::flatten(&top), &Call::new()).unwrap();
    assert_eq!(backing_name(&lab, "top"), None);
    assert!(same(&new, &Image::qcow2_luks(lab.path("top"), &OTHER_KEY)));
    assert!(!has_canary(&lab.path("top")));
}

#[test]
fn an_encrypted_overlay_over_a_plain_template_hides_what_is_written_only() {
    let lab = Lab::new();
    let template = Image::raw(lab.template());
    let layout = Layout::qcow2_luks(&OTHER_KEY, Qcow2Options::new(), fast());
    let new = NewImage::new(lab.path("top"), layout).backed_by(&template);
    run(&Create::sized(&new, size(2 * SIZE))).unwrap();
    let top = new.image();
    assert!(same(&template, &top));
    assert_eq!(tool().info(&top, &Call::new()).unwrap().virtual_size, 2 * SIZE);
    run(&Convert::new(
        &Image::raw(lab.write("more", &content(CANARY))),
        &top,
    ))
    .unwrap();
    assert!(!has_canary(&lab.path("top")));
    let refusal = run(&Commit::of(&top)).unwrap_err();
    assert!(
        matches!(refusal, QemuImgError::Refused(Refusal::Plaintext { .. })),
        "{refusal:?}"
    );
}

#[test]
fn plain_overlays_are_kept_or_emptied_by_a_commit() {
    let lab = Lab::new();
    let base = Image::raw(lab.template());
    let new = NewImage::new(lab.path("top"), Layout::qcow2(Qcow2Options::new())).backed_by(&base);
    run(&Create::like_base(&new)).unwrap();
    let changed = Image::raw(lab.write("changed", &content(b"changed")));
    run(&Convert::new(&changed, new.image())).unwrap();
    let full = std::fs::metadata(lab.path("top")).unwrap().len();
    run(&Commit::of(&new.image()).keep_overlay()).unwrap();
    assert_eq!(std::fs::metadata(lab.path("top")).unwrap().len(), full);
    assert!(same(&changed, &base));
    run(&Commit::of(&new.image())).unwrap();
    assert!(std::fs::metadata(lab.path("top")).unwrap().len() < full);
}

/// Makes a plain overlay whatever the base is, as no [`NewImage`] does.
fn plain_overlay(path: &Path, base: &Path) {
    let create = CommandSpec::new(tool().program().clone())
        .args(["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b"])
        .arg(base)
        .arg(path)
        .arg(SIZE.to_string());
    let done = SystemRunner::new().run(&create, &Watch::nobody()).unwrap();
    assert_eq!((done.code, done.message()), (0, String::new()));
}

#[test]
fn a_plain_overlay_over_an_encrypted_base_is_read_and_takes_nothing_in() {
    let lab = Lab::new();
    let base = lab.qcow2_luks("base");
    let path = lab.path("lower");
    plain_overlay(&path, base.location().path());
    let lower = Image::qcow2(&path).backed_by(base);
    assert!(same(&Image::raw(lab.template()), &lower));
    run(&Convert::new(&lower, lab.luks("kept"))).unwrap();

    let layout = Layout::qcow2(Qcow2Options::new());
    let clear = NewImage::new(lab.path("clear"), layout);
    let leave = Declassify::because("test of the export").unwrap();
    run(&Convert::declassifying(&lower, &clear, leave)).unwrap();
    assert!(has_canary(clear.path()));

    plain_overlay(&lab.path("upper"), &path);
    let upper = Image::qcow2(lab.path("upper")).backed_by(lower);
    let refusal = run(&Commit::of(&upper)).unwrap_err();
    assert!(
        matches!(refusal, QemuImgError::Refused(Refusal::Plaintext { .. })),
        "{refusal:?}"
    );
    assert!(!has_canary(&path));
}

#[test]
fn the_base_that_is_described_is_opened_whatever_the_header_calls_it() {
    let lab = Lab::new();
    let base = lab.qcow2_luks("base");
    let top = overlay(&lab, "top", &base);
    std::fs::rename(lab.path("base"), lab.path("moved")).unwrap();
    let moved = Image::qcow2_luks(lab.path("moved"), &KEY);
    let top = Image::qcow2_luks(top.location().path(), &OTHER_KEY).backed_by(moved);
    assert!(same(&Image::raw(lab.template()), &top));
}

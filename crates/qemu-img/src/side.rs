use std::fmt;

use crate::Refusal;

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Plain {}
    impl Sealed for super::Encrypted {}
    impl Sealed for super::Exposed {}
}

/// The content may be read by whoever reads the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {}

/// The image has a key, and whatever is written to it is encrypted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encrypted {}

/// A plain overlay over an image that needs a key: it shows encrypted content, and what is written to it lies in clear.
///
/// So does what QEMU copies up from the base to fill a cluster of which only a part is written. Therefore such an image can
/// be read, and is nowhere a place to write content to without [`Declassify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposed {}

/// On which side of the cipher an image lies: [`Plain`], [`Encrypted`], or [`Exposed`] between the two.
pub trait Side: sealed::Sealed + fmt::Debug + Clone + 'static {
    /// The side of an overlay of this side over a base of that one.
    type Over<Base: Side>: Side;
    /// The side of a plain overlay over a base of this side: plain only when that is.
    type UnderPlain: Side;
}

impl Side for Plain {
    type Over<Base: Side> = Base::UnderPlain;
    type UnderPlain = Plain;
}

impl Side for Encrypted {
    type Over<Base: Side> = Encrypted;
    type UnderPlain = Exposed;
}

impl Side for Exposed {
    type Over<Base: Side> = Exposed;
    type UnderPlain = Exposed;
}

/// What lies on side `Content` may be written to this side.
///
/// Plain content may go to [`Plain`] and [`Encrypted`], all other content to [`Encrypted`] only, and nothing to [`Exposed`]: a
/// copy, an overlay or a growth that would write encrypted content in clear does not compile, unless the call says so with
/// [`Declassify`].
#[diagnostic::on_unimplemented(
    message = "content that is encrypted would be written in clear",
    label = "this would drop the encryption",
    note = "give the target a key, or pass a `Declassify` to the call that takes one"
)]
pub trait Protects<Content: Side>: Side {}

impl Protects<Plain> for Plain {}
impl<Content: Side> Protects<Content> for Encrypted {}

/// Leave to write encrypted content in clear, with the reason for it.
///
/// ```
/// use strongroom_qemu_img::Declassify;
/// let token = Declassify::because("tenant asked for an unencrypted export, ticket 4711")?;
/// assert_eq!(token.reason(), "tenant asked for an unencrypted export, ticket 4711");
/// assert!(matches!(Declassify::because(" "), Err(_)));
/// # Ok::<(), strongroom_qemu_img::Refusal>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declassify(String);

impl Declassify {
    /// The leave, for this reason. Whoever makes it writes the reason to the audit log: this crate has none.
    ///
    /// # Errors
    /// [`Refusal::NoReason`] when the reason is blank.
    pub fn because(reason: impl Into<String>) -> Result<Self, Refusal> {
        let reason = reason.into();
        if reason.trim().is_empty() {
            Err(Refusal::NoReason)
        } else {
            Ok(Self(reason))
        }
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0
    }
}

use std::path::Path;

use crate::node::Node;
use crate::{Image, NewImage, Side};

/// Where a copy goes: an image that is there, or one that the copy makes.
///
/// Both an [`Image`] and a [`NewImage`] turn into it.
#[derive(Debug, Clone)]
pub struct Target<'k, S: Side>(pub(crate) Place<'k, S>);

#[derive(Debug, Clone)]
pub(crate) enum Place<'k, S: Side> {
    Existing(Node<'k>),
    New(NewImage<'k, S>),
}

impl<'k, S: Side> Target<'k, S> {
    /// The path of its file or device.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.0 {
            Place::Existing(node) => node.path(),
            Place::New(image) => image.path(),
        }
    }
}

impl<'k, S: Side> From<Image<'k, S>> for Target<'k, S> {
    fn from(image: Image<'k, S>) -> Self {
        Self(Place::Existing(image.node))
    }
}

impl<'k, S: Side> From<&Image<'k, S>> for Target<'k, S> {
    fn from(image: &Image<'k, S>) -> Self {
        Self(Place::Existing(image.node.clone()))
    }
}

impl<'k, S: Side> From<NewImage<'k, S>> for Target<'k, S> {
    fn from(image: NewImage<'k, S>) -> Self {
        Self(Place::New(image))
    }
}

impl<'k, S: Side> From<&NewImage<'k, S>> for Target<'k, S> {
    fn from(image: &NewImage<'k, S>) -> Self {
        Self(Place::New(image.clone()))
    }
}

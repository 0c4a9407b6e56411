use strongroom_types::Call;

use crate::disk_job::abandoning;
use crate::{LibvirtError, Machine};

/// What QEMU had open before an operation.
#[derive(Debug)]
pub(crate) struct Before {
    nodes: Vec<String>,
    objects: Vec<String>,
}

/// libvirt 11.3 leaves nodes and the secrets of images open that a failed snapshot or backup was to write. They keep the file, and the key in
/// QEMU's memory.
impl Machine<'_> {
    pub(crate) fn before(&self, call: &Call) -> Result<Before, LibvirtError> {
        Ok(Before {
            nodes: self.node_names(call)?,
            objects: self.objects(call)?,
        })
    }

    fn node_names(&self, call: &Call) -> Result<Vec<String>, LibvirtError> {
        let nodes = self.block_nodes(call)?;
        Ok(nodes.into_iter().map(|node| node.name).collect())
    }

    /// Closes what is open now, was not before, and is not used; then says the error. After an interruption libvirt may still be at
    /// work, and nothing is touched.
    pub(crate) fn swept(&self, before: &Before, error: LibvirtError) -> LibvirtError {
        if !matches!(
            error,
            LibvirtError::Interrupted { .. } | LibvirtError::Unreachable { .. }
        ) {
            let _the_first_error_counts = self.sweep(&abandoning(), before);
        }
        error
    }

    fn sweep(&self, call: &Call, before: &Before) -> Result<(), LibvirtError> {
        let ours = |name: &String| name.starts_with("libvirt-");
        let new: Vec<String> = self
            .node_names(call)?
            .into_iter()
            .filter(|name| ours(name) && !before.nodes.contains(name))
            .collect();
        // A format lies on a storage, which cannot go before it.
        let (upper, lower): (Vec<_>, Vec<_>) = new.into_iter().partition(|name| name.ends_with("-format"));
        let mut done = Ok(());
        for node in upper.iter().chain(&lower) {
            done = done.and(self.delete_node(call, node));
        }
        for object in self.objects(call)? {
            if ours(&object) && !before.objects.contains(&object) {
                done = done.and(self.delete_object(call, &object));
            }
        }
        done
    }
}

//! `container.layer`: the writable layer as a layer of an image.
//! <https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts>

use std::fs::File;

use super::pack::Packer;
use super::upper::{Comparison, Difference};
use crate::protocol::message::Failure;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b"/.wh..wh..opq";

pub fn layer(comparison: Comparison, to: File) -> Result<(), Failure> {
    let mut packer = Packer::new(to);
    comparison.run(&mut |difference| match difference {
        Difference::Directory { path, directory, status, opaque, .. } => {
            packer.directory(&path[1..], directory, status)?;
            if opaque { packer.mark([&path[1..], OPAQUE].concat()) } else { Ok(()) }
        }
        Difference::File { path, directory, name, .. } => packer.entry(&path[1..], directory, name),
        Difference::Gone { covered: true, .. } => Ok(()),
        Difference::Gone { path, .. } => {
            let path = &path[1..];
            let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            packer.mark([&path[..start], WHITEOUT, &path[start..]].concat())
        }
    })?;
    packer.finish()
}

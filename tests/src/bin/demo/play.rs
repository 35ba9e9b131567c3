//! How to play with a demo that was left running: a script for each pod and node.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use weft_harness::{Inside, Launch, config};

use crate::shop::Shop;

/// Writes `<folder>/in/<name>` for every place, each running a command there, and says how to use
/// them.
pub(crate) fn write_scripts(shop: &Shop, inside: &Inside) -> Result<String> {
    let folder = shop.mesh.folder().join("in");
    fs::create_dir_all(&folder)?;
    let binaries = config::binary("shop")?.parent().map(Path::to_path_buf).context("no folder")?;
    let mut places = vec![("control".to_owned(), Launch::new("env", shop.mesh.control().path()))];
    for node in shop.mesh.nodes() {
        places.push((node.name.clone(), Launch::new("env", node.netns.path())));
    }
    for pod in shop.mesh.pods() {
        let (namespace, name) = (&pod.spec.namespace, &pod.spec.name);
        let unique = !matches!(namespace.as_str(), "plain" | "bench");
        let name = if unique { name.clone() } else { format!("{namespace}-{name}") };
        places.push((name, pod.launch("env")));
    }
    for (name, launch) in places {
        let path = folder.join(name);
        let command = launch.from_outside(inside)?;
        let text = format!(
            "#!/bin/sh\n# Runs a command where the file's name says.\n\
             PATH={}:$PATH:/usr/sbin:/sbin exec {command} \"$@\"\n",
            binaries.display()
        );
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(how_to(shop.mesh.folder()))
}

fn how_to(folder: &Path) -> String {
    let place = folder.display();
    let mut text = String::from("\nThe mesh runs until Ctrl-C. Try, in another terminal:\n");
    for (command, what) in [
        (format!("{place}/in/web shop call http://checkout.shop/"), "a call through the shop"),
        (
            format!("{place}/in/intruder shop call http://inventory.warehouse/"),
            "one that is refused",
        ),
        (format!("{place}/in/control weft status"), "who is connected, and what they have"),
        (format!("{place}/in/node1 weft ztunnel-config workload"), "what node 1 knows"),
        (format!("$EDITOR {place}/manifests/policy-inventory.yaml"), "a policy; saved is in force"),
        (format!("tail -f {place}/logs/ztunnel-node2.log"), "connections and refusals"),
    ] {
        // Writing to a string can't fail.
        let _written = writeln!(text, "  {command}\n      {what}");
    }
    text
}

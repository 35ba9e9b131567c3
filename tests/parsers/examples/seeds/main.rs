//! Writes the seeds of the fuzzers that are not there yet. What is there stays as it is.

mod access;
mod backends;
mod certificates;
mod credentials;
mod frames;
mod manifests;
mod messages;
mod packets;
mod routes;
mod texts;
mod zds;

use std::fs;
use std::path::Path;

/// A file's name says what the input is.
pub(crate) type Seed = (&'static str, Vec<u8>);

fn main() -> std::io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let sets: [(&str, Vec<Seed>); 22] = [
        ("access_policy", access::policies()),
        ("address", messages::addresses()),
        ("affinity", backends::requests()),
        ("authority", texts::authorities()),
        ("backend_policy", backends::policies()),
        ("baggage", texts::baggage()),
        ("credentials", credentials::messages()),
        ("discovery", messages::discovery()),
        ("dns_query", packets::queries()),
        ("dns_response", packets::responses()),
        ("forwarded", texts::forwarded()),
        ("join_token", texts::join_tokens()),
        ("leaf_certificate", certificates::leaves()),
        ("manifests", manifests::files()),
        ("policy", messages::policies()),
        ("route_table", routes::tables()),
        ("spiffe_id", texts::spiffe_ids()),
        ("traceparent", texts::traceparents()),
        ("tunnel", frames::connections()),
        ("zds_answer", zds::answers()),
        ("zds_hello", zds::hellos()),
        ("zds_request", zds::requests()),
    ];
    for (target, seeds) in sets {
        let folder = corpora.join(target);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds {
            let path = folder.join(name);
            if !path.exists() {
                fs::write(path, bytes)?;
            }
        }
    }
    Ok(())
}

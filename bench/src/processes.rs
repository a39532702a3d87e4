//! What the processes of Skiff in this machine cost: daemon, supervisor, the inits of containers.

use anyhow::{Context, Result};
use skiff_json::{Value, json};

/// Proportional memory in KiB, processor time in ticks so far, and how many processes.
pub fn now() -> Result<Value> {
    let (mut pss_kb, mut ticks, mut count, mut each) = (0, 0, 0, Vec::new());
    let own = std::env::current_exe()?;
    for entry in std::fs::read_dir("/proc")? {
        let folder = entry?.path();
        let Ok(program) = folder.join("exe").read_link() else { continue };
        if !program.to_string_lossy().contains("skiff") || program == own {
            continue;
        }
        // A process may end while it is looked at.
        let Ok(rollup) = std::fs::read_to_string(folder.join("smaps_rollup")) else { continue };
        let Ok(stat) = std::fs::read_to_string(folder.join("stat")) else { continue };
        let pss = pss(&rollup).with_context(|| format!("no Pss in {}", folder.display()))?;
        let words = std::fs::read(folder.join("cmdline"))?;
        each.push(json!([pss, String::from_utf8_lossy(&words).replace('\0', " ")]));
        pss_kb += pss;
        ticks += cpu(&stat).with_context(|| format!("no times in {}", folder.display()))?;
        count += 1;
    }
    each.sort_by_key(|line| std::cmp::Reverse(line[0].as_u64()));
    each.truncate(4);
    Ok(json!({"pss_kb": pss_kb, "ticks": ticks, "count": count, "largest": each}))
}

fn pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// User and system time: the 14th and 15th field, counted behind the name in brackets.
fn cpu(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(field(14)? + field(15)?)
}

//! The file of one machine: lines of `key=value`, written anew as a whole each time.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use crate::process::Process;

/// What has to be known of a machine to open or to destroy it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub data: PathBuf,
    pub cgroup: PathBuf,
    /// Name of the outer end of its uplink.
    pub link: String,
    pub address: Option<IpAddr>,
    /// `None` while it is being made.
    pub init: Option<Process>,
}

impl Record {
    pub(crate) fn write(&self, file: &mut File) -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(self.text().as_bytes())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "data={}\ncgroup={}\nlink={}\n",
            self.data.display(),
            self.cgroup.display(),
            self.link
        );
        if let Some(address) = self.address {
            text += &format!("address={address}\n");
        }
        if let Some(init) = &self.init {
            text += &format!("init={}\nstarted={}\n", init.pid, init.started);
        }
        text
    }

    /// The reason is for people.
    pub(crate) fn parse(text: &str) -> Result<Record, String> {
        let value = |key: &str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            lines.into_iter().find(|(k, _)| *k == key).map(|(_, value)| value)
        };
        let must = |key: &str| value(key).ok_or(format!("no line {key}="));
        let number = |key: &str| match value(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|e| format!("{key}: {e}")),
        };
        let init = match (number("init")?, number("started")?) {
            (Some(pid), Some(started)) => {
                let pid = u32::try_from(pid).map_err(|e| format!("init: {e}"))?;
                Some(Process { pid, started })
            }
            _ => None,
        };
        let address = match value("address") {
            None => None,
            Some(text) => Some(text.parse().map_err(|e| format!("address: {e}"))?),
        };
        Ok(Record {
            data: must("data")?.into(),
            cgroup: must("cgroup")?.into(),
            link: must("link")?.to_string(),
            address,
            init,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut record = Record {
            data: "/var/lib/skiff=x".into(),
            cgroup: "/skiff-a".into(),
            link: "sk1".to_string(),
            address: None,
            init: None,
        };
        assert_eq!(Record::parse(&record.text()), Ok(record.clone()));
        record.address = Some(IpAddr::from([10, 1, 1, 2]));
        record.init = Some(Process { pid: 7, started: 99 });
        assert_eq!(Record::parse(&record.text()), Ok(record));
        assert_eq!(Record::parse("data=/x\n"), Err("no line cgroup=".to_string()));
    }
}

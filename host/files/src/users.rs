//! Users and groups of this machine, from `/etc/passwd` and `/etc/group`.

/// Text of the two files; empty where there is none.
#[derive(Clone, Debug, Default)]
pub struct Users {
    passwd: String,
    group: String,
}

impl Users {
    /// From the files of this machine.
    pub fn of_machine() -> Self {
        Self {
            passwd: std::fs::read_to_string("/etc/passwd").unwrap_or_default(),
            group: std::fs::read_to_string("/etc/group").unwrap_or_default(),
        }
    }

    pub fn name_of(&self, uid: u32) -> Option<&str> {
        self.users()
            .find(|(_, id, _)| *id == uid)
            .map(|(name, ..)| name)
    }

    pub fn group_name(&self, gid: u32) -> Option<&str> {
        self.groups()
            .find(|(_, id, _)| *id == gid)
            .map(|(name, ..)| name)
    }

    /// Whether only this user and root are in the group. Distributions give each
    /// user a group of their own, and then let it write what the user makes.
    pub fn is_private_group(&self, gid: u32, uid: u32) -> bool {
        let is_one_of_us = |id: u32| id == uid || id == 0;
        let mut named = false;
        for (_, id, _) in self.users().filter(|(_, _, primary)| *primary == gid) {
            if !is_one_of_us(id) {
                return false;
            }
            named = true;
        }
        for (_, _, members) in self.groups().filter(|(_, id, _)| *id == gid) {
            let id_of = |name: &str| self.users().find(|(n, ..)| *n == name).map(|(_, id, _)| id);
            let strangers = members
                .split(',')
                .filter(|name| !name.is_empty())
                .any(|name| !id_of(name).is_some_and(is_one_of_us));
            if strangers {
                return false;
            }
            named |= !members.is_empty();
        }
        // Users of a directory service are not in the files: by convention a private
        // group has the id of its user.
        named || gid == uid
    }

    /// Name, user id, id of the primary group.
    fn users(&self) -> impl Iterator<Item = (&str, u32, u32)> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some((name, uid, gid))
        })
    }

    /// Name, group id, names of the members separated by commas.
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let gid = fields.nth(1)?.parse().ok()?;
            Some((name, gid, fields.next().unwrap_or_default().trim()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        Users {
            passwd: "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:7\nada:x:1000:1000::/home/ada:\n\
                     bob:x:1001:100::/home/bob:\neve:x:1002:100::/home/eve:\n"
                .to_owned(),
            group: "root:x:0:\nada:x:1000:\nusers:x:100:\ndeploy:x:50:ada,bob\nown:x:51:ada,root\n\
                    ghosts:x:52:ada,nobody-knows\n"
                .to_owned(),
        }
    }

    #[test]
    fn a_name_is_that_of_the_id() {
        let users = users();
        assert_eq!(users.name_of(1000), Some("ada"));
        assert_eq!(users.name_of(0), Some("root"));
        assert_eq!(users.name_of(7), None);
        assert_eq!(users.name_of(8), None);
        assert_eq!(users.group_name(50), Some("deploy"));
        assert_eq!(users.group_name(8), None);
    }

    #[test]
    fn a_group_is_private_when_nobody_else_is_in_it() {
        let users = users();
        assert!(users.is_private_group(1000, 1000), "her own");
        assert!(users.is_private_group(51, 1000), "she and root");
        assert!(!users.is_private_group(1000, 1001), "somebody else's");
        assert!(!users.is_private_group(100, 1001), "two have it as primary");
        assert!(!users.is_private_group(50, 1000), "a member more");
        assert!(!users.is_private_group(52, 1000), "a member of no number");
    }

    #[test]
    fn a_group_of_a_directory_service_is_private_by_its_number() {
        let users = users();
        assert!(users.is_private_group(70_000, 70_000));
        assert!(!users.is_private_group(70_001, 70_000));
    }
}

package access

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// The operations of Dataverse, as the changes that do them. They read the state
// and change nothing: Expand judges and completes what they give, and package
// engine tells who may do it. The error is an *Invalid.

// Grant gives the share's rights in addition to those that the principal has of
// its own on the record (Rule SHARE-1). A share has one window: a grant for
// another one would change what was given before, and is refused.
func (s *State) Grant(share Share) ([]Change, error) {
	if now, ok := s.Shares[share.key()]; ok {
		if !now.Window.equal(share.Window) {
			return nil, &Invalid{Rule: "SHARE-10", Object: nameOf(now), Problem: "holds for another time: modify it, which sets rights and time anew"}
		}
		share.Rights |= now.Rights
	}
	return s.Modify(share)
}

// Modify sets the rights and window that the principal has of its own on the
// record, and leaves what is inherited (Rules SHARE-1, SHARE-7). No rights revoke.
func (s *State) Modify(share Share) ([]Change, error) {
	now, ok := s.Shares[share.key()]
	if share.Rights == 0 && ok {
		return s.Revoke(share.key())
	}
	share.Inherited, share.Along = now.Inherited, now.Along
	return []Change{Put(share)}, nil
}

// Revoke takes the rights that the principal has of its own on the record. What is
// inherited stays: it ends where it comes from (Rule SHARE-7).
func (s *State) Revoke(k ShareKey) ([]Change, error) {
	now, ok := s.Shares[k]
	if !ok {
		return nil, &Invalid{Rule: "SHARE-8", Object: nameOf(Share{Table: k.Table, Record: k.Record, Principal: k.Principal}), Problem: "does not exist"}
	}
	if now.Inherited == 0 {
		return []Change{Remove(now)}, nil
	}
	now.Rights = 0
	return []Change{Put(now)}, nil
}

func (w Window) equal(o Window) bool { return w.Start.Equal(o.Start) && w.End.Equal(o.End) }

// AssignRecord gives a registered record another owner. Which unit owns it then is
// Expand's to decide (Rules OWN-5, OWN-11).
func (s *State) AssignRecord(k RecordKey, owner Principal) ([]Change, error) {
	return s.changeRecord(k, func(r *Record) { r.Owner, r.BusinessUnit = owner, "" })
}

// SetRecordUnit gives a registered record another owning unit (Rule BU-10).
func (s *State) SetRecordUnit(k RecordKey, unit BusinessUnitID) ([]Change, error) {
	return s.changeRecord(k, func(r *Record) { r.BusinessUnit = unit })
}

// LinkRecord sets a registered record's lookup along a relationship (Rule REL-1).
func (s *State) LinkRecord(k RecordKey, along RelationshipID, parent RecordID) ([]Change, error) {
	return s.changeRecord(k, func(r *Record) {
		r.Links = append(without(r.Links, along), Link{along, parent})
		slices.SortFunc(r.Links, func(a, b Link) int { return cmp.Compare(a.Relationship, b.Relationship) })
	})
}

// UnlinkRecord clears a registered record's lookup (Rule REL-3).
func (s *State) UnlinkRecord(k RecordKey, along RelationshipID) ([]Change, error) {
	return s.changeRecord(k, func(r *Record) { r.Links = without(r.Links, along) })
}

// without copies the links but for the one along a relationship; nil for none.
func without(links []Link, along RelationshipID) []Link {
	var out []Link
	for _, l := range links {
		if l.Relationship != along {
			out = append(out, l)
		}
	}
	return out
}

func (s *State) changeRecord(k RecordKey, change func(*Record)) ([]Change, error) {
	r, ok := s.Records[k]
	if !ok {
		return nil, &Invalid{Object: nameOf(Record{Table: k.Table, ID: k.Record}), Problem: "is not registered"}
	}
	change(&r)
	return []Change{Put(r)}, nil
}

// TemplateTeam finds the access team of a record by a template (Rule TEAM-6).
func (s *State) TemplateTeam(template TemplateID, record RecordID) (Team, bool) {
	t := s.Templates[template]
	for id := range s.index.teams[RecordKey{t.Table, record}] {
		if team := s.Teams[id]; team.For.Template == template {
			return team, true
		}
	}
	return Team{}, false
}

// AddToTemplate adds a user to a record's access team of a template. The first
// user makes the team, in the root unit, and shares the record with it by the
// template's mask (Rule TEAM-6).
func (s *State) AddToTemplate(template TemplateID, record RecordID, user UserID, by ManagedBy) ([]Change, error) {
	t, ok := s.Templates[template]
	if !ok {
		return nil, &Invalid{Rule: "TEAM-6", Object: nameOf(Template{ID: template}), Problem: "does not exist"}
	}
	team, exists := s.TemplateTeam(template, record)
	var changes []Change
	if !exists {
		sum := sha256.Sum256([]byte(JoinKey(string(template), string(record))))
		team = Team{
			Environment: t.Environment, ID: TeamID("record-" + hex.EncodeToString(sum[:16])), Name: fmt.Sprintf("%s %s %s", t.ID, t.Table, record),
			Type: AccessTeam, BusinessUnit: s.root(), For: &TemplateLink{Template: template, Table: t.Table, Record: record}, ManagedBy: by,
		}
		share := Share{Environment: t.Environment, Table: t.Table, Record: record, Principal: team.ID.Principal(), Rights: t.Rights, ManagedBy: by}
		changes = []Change{Put(team), Put(share)}
	}
	return append(changes, Put(Membership{Environment: t.Environment, Team: team.ID, User: user, ManagedBy: by})), nil
}

// RemoveFromTemplate removes a user from a record's access team of a template. The
// last one's leaving ends team and share: Expand adds that (Rule TEAM-6).
func (s *State) RemoveFromTemplate(template TemplateID, record RecordID, user UserID) ([]Change, error) {
	team, _ := s.TemplateTeam(template, record)
	m, ok := s.Memberships[MembershipKey{team.ID, user}]
	if !ok {
		return nil, &Invalid{Rule: "TEAM-6", Object: nameOf(Template{ID: template}), Problem: fmt.Sprintf("does not give record %q to user %q", record, user)}
	}
	return []Change{Remove(m)}, nil
}

func (s *State) root() BusinessUnitID {
	for id, b := range s.BusinessUnits {
		if b.Parent == "" {
			return id
		}
	}
	return ""
}

// CopyRole makes a role with the same privileges and a life of its own. System
// Administrator cannot be copied: its copies would lack what is added later, or
// could be given where it may not (Rule ROLE-12).
func (s *State) CopyRole(from, id RoleID, name string, by ManagedBy) ([]Change, error) {
	r, ok := s.Roles[from]
	switch {
	case !ok:
		return nil, &Invalid{Rule: "ROLE-12", Object: nameOf(Role{ID: from}), Problem: "does not exist"}
	case r.All:
		return nil, &Invalid{Rule: "ROLE-12", Object: nameOf(r), Problem: "has every privilege and cannot be copied"}
	}
	if _, taken := s.Roles[id]; taken {
		return nil, &Invalid{Rule: "ROLE-12", Object: nameOf(Role{ID: id}), Problem: "exists: a copy needs an id of its own"}
	}
	r.ID, r.Name, r.ManagedBy = id, name, by
	r.Privileges, r.Miscellaneous = slices.Clone(r.Privileges), slices.Clone(r.Miscellaneous)
	return []Change{Put(r)}, nil
}

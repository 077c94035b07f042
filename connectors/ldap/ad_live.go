package ldap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// live begins a round in which nothing is read but what a check asks for.
func (s *ActiveDirectory) live(ctx context.Context) (*adRound, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	r := &adRound{round: &round{connection: c}, source: s, mode: directory.Delta, now: s.now()}
	if r.domain, err = s.survey(c); err == nil {
		r.kinds, err = s.kinds(r.domain, nil)
	}
	if err != nil {
		c.close()
		return nil, ended(ctx, err)
	}
	return r, nil
}

// object is how a live check's error tells that there is none such.
func (r *adRound) object(ctx context.Context, id directory.ObjectID, err error) error {
	if ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return fmt.Errorf("%s: %w", id, directory.ErrNoObject)
	}
	return ended(ctx, fmt.Errorf("ask for %s: %w", id, err))
}

// LiveGroups asks for the user's tokenGroups (Rule AD-15): the controller itself
// puts together all security groups that the user is in, nested ones and the
// primary one, as it does for a logon. Groups for mail alone are not among them.
func (s *ActiveDirectory) LiveGroups(ctx context.Context, user directory.ObjectID) (directory.Live, error) {
	r, err := s.live(ctx)
	if err != nil {
		return directory.Live{}, err
	}
	defer r.close()
	sids, err := r.values("<GUID="+string(user)+">", "tokenGroups", nil)
	switch {
	case err != nil:
		return directory.Live{}, r.object(ctx, user, err)
	case len(sids) == 0: // everybody has a primary group
		return directory.Live{}, fmt.Errorf("%w: the controller does not tell the tokenGroups of %s; let the account that Ambit binds as read them", directory.ErrIncomplete, user)
	}
	live := directory.Live{Untold: func(g directory.Object) bool { return g.Get(directory.AttrGroupKind) != "security" }}
	groups := r.groups()
	for some := range slices.Chunk(sids, again) {
		var any strings.Builder
		for _, sid := range some {
			any.WriteString("(objectSid=" + escapeBytes(sid) + ")")
		}
		if err := r.ids(groups, "(&"+groups.filter+"(|"+any.String()+"))", func(x extended) error {
			live.Refs = append(live.Refs, directory.ByID(x.id))
			return nil
		}); err != nil {
			return directory.Live{}, ended(ctx, groups.of(err))
		}
	}
	return live, nil
}

// LiveMembers reads the group's members, to the end of the list (Rule AD-13), and
// those whose primary group it is (Rule AD-17).
func (s *ActiveDirectory) LiveMembers(ctx context.Context, group directory.ObjectID) (directory.Live, error) {
	r, err := s.live(ctx)
	if err != nil {
		return directory.Live{}, err
	}
	defer r.close()
	o := adObject{id: group, dn: string(group)}
	var live directory.Live
	r.yield = func(p directory.Page) error {
		for _, m := range p.Members {
			live.Refs = append(live.Refs, m.Add...)
		}
		return nil
	}
	sid, err := r.value("<GUID="+string(group)+">", "objectSid")
	if err != nil {
		return directory.Live{}, r.object(ctx, group, err)
	}
	if o.sid, _ = sidText(sid); o.sid == "" {
		return directory.Live{}, fmt.Errorf("%w: the controller does not tell the objectSid of %s; let the account that Ambit binds as read it", directory.ErrIncomplete, group)
	}
	if o.edges, err = r.part(group, 0); err == nil {
		err = r.members(&o)
	}
	if err != nil {
		return directory.Live{}, r.object(ctx, group, err)
	}
	return live, nil
}

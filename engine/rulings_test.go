package engine_test

import (
	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

func (s subject) Rule(x enginetest.Ruling) (may bool, refusedBy string, err error) {
	rec := engine.RecordRef{Table: x.Table, Record: x.Record}
	var r engine.Ruling
	switch x.Asks {
	case "share":
		r, err = s.MayShare(x.User, rec, x.Rights, x.At)
	case "revoke":
		r, err = s.MayRevoke(x.User, rec, x.Principal, x.At)
	case "assign":
		r, err = s.MayAssign(x.User, rec, x.Principal, x.At)
	case "set_unit":
		r, err = s.MaySetUnit(x.User, rec, x.Unit, x.At)
	case "link":
		parent := engine.RecordRef{Table: x.ParentTable, Record: x.Parent}
		r, err = s.MayLink(x.User, x.Relationship, rec, &parent, x.Creating, x.At)
	case "clear":
		r, err = s.MayLink(x.User, x.Relationship, rec, nil, false, x.At)
	case "add_to_template":
		r, err = s.MayAddToTemplate(x.User, x.Template, rec, x.At)
	case "share_column":
		r, err = s.MayShareColumn(x.User, rec, x.Column, x.Rights.Has(access.Read), x.Rights.Has(access.Write), x.At)
	case "give":
		r, err = s.MayGive(x.User, x.Role, x.Unit, x.At)
	default:
		panic("internal error: no such ruling: " + x.Asks)
	}
	return r.Allowed, r.Rule, err
}

func compareRuling(p enginetest.Pick, st *access.State, s candidate, r enginetest.Reference, c *compared) *enginetest.Asked {
	x := enginetest.RandomRuling(p, st)
	may, by, gotErr := s.Rule(x)
	want, wantBy, wantErr := r.Rule(x)
	if alike(gotErr, wantErr) && may == want && by == wantBy {
		if gotErr == nil {
			n := c.rulings[x.Asks]
			if may {
				n[1]++
			} else {
				n[0]++
			}
			c.rulings[x.Asks] = n
		}
		return nil
	}
	return &enginetest.Asked{About: "Ruling", Ruling: &x}
}

package access

import (
	"errors"
	"fmt"
	"slices"
)

// Invalid is one fault of a changeset: which rule which object would break, and
// what to do about it.
type Invalid struct {
	Rule    string // such as "BU-4"; empty where no numbered rule says it
	Object  string // kind and key, such as "business_unit sales"
	Problem string
}

func (i *Invalid) Error() string {
	if i.Rule == "" {
		return i.Object + ": " + i.Problem
	}
	return fmt.Sprintf("%s: %s (Rule %s)", i.Object, i.Problem, i.Rule)
}

// Expand judges a changeset against the invariants and adds the consequences
// that the rules demand. The changes may come in any order; what comes back is
// in creation order. s is not changed. The error joins an *Invalid for each fault.
func (s *State) Expand(changes []Change) ([]Change, error) {
	var faults []error
	for _, c := range changes {
		if env := c.Object.ObjectEnvironment(); env != s.Environment.ID {
			faults = append(faults, &Invalid{Object: fmt.Sprintf("%s %s", c.Object.ObjectKind(), c.Object.ObjectKey()),
				Problem: fmt.Sprintf("is of environment %q, not of %q", env, s.Environment.ID)})
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	out := slices.Clone(changes)
	slices.SortStableFunc(out, func(a, b Change) int { return int(a.Object.ObjectKind()) - int(b.Object.ObjectKind()) })
	return out, nil
}

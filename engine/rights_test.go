package engine_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

func TestCheckAllAnswersAsCheck(t *testing.T) {
	p := pick(3)
	st := enginetest.Organisation(p)
	s, err := engine.New(st, 7)
	require.NoError(t, err)
	var qs []engine.Question
	for range 200 {
		qs = append(qs, enginetest.Question(p, st))
	}
	for i, got := range s.CheckAll(qs) {
		d, err := s.Check(qs[i])
		require.Equal(t, engine.Answer{Decision: d, Err: err}, got)
	}
}

func TestRule_EVAL_10_RightsAreWhatCheckAllows(t *testing.T) {
	masks := map[access.Rights]bool{}
	for seed := range uint64(100) {
		p := pick(seed)
		st := enginetest.Organisation(p)
		s, err := engine.New(st, 7)
		require.NoError(t, err)
		r := enginetest.Reference{State: st, Revision: 7}
		for range 20 {
			q := enginetest.Question(p, st)
			if q.Columns = nil; q.Privilege != "" || q.Action == access.Create {
				continue
			}
			got, err := s.Rights(q)
			var want access.Rights
			var wrong error
			for q.Action = access.Read; q.Action < access.Actions; q.Action++ {
				d, err := r.Check(q)
				if wrong = errors.Join(wrong, err); d.Allowed {
					want |= access.RightsOf(q.Action)
				}
			}
			if wrong != nil {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, want, got)
			masks[got] = true
		}
	}
	require.Greater(t, len(masks), 50)
}

func TestRightsAreOnRecordsAndTables(t *testing.T) {
	st := enginetest.Organisation(pick(1))
	s, err := engine.New(st, 7)
	require.NoError(t, err)
	_, err = s.Rights(engine.Question{User: "u0", Privilege: "Export", At: noon})
	require.ErrorIs(t, err, engine.ErrQuestion)
	_, err = s.Rights(engine.Question{User: "u0", Table: "account", Columns: []string{"x"}, At: noon})
	require.ErrorIs(t, err, engine.ErrQuestion)
}

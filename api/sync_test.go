package api

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/sqlite"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
)

// A source that cannot be read does not hide that the plan was not applied.
func TestRule_REL_7_a_sync_tells_what_it_failed_at_besides_its_sources(t *testing.T) {
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "ambit.db"), sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	on, err := tenant.Open(t.Context(), db, tenant.Options{})
	require.NoError(t, err)
	s := &Server{tenant: on}
	report := dirsync.Report{Plan: &dirsync.Plan{}, Sources: []dirsync.SourceReport{{Err: directory.ErrAuth}}}
	answer, err := s.synced(report, directory.ErrAuth, false)
	require.NoError(t, err)
	require.Equal(t, directory.ErrAuth.Error(), answer.Body.Sources[0].Error)
	report.Err = store.ErrUnreachable
	_, err = s.synced(report, errors.Join(report.Err, directory.ErrAuth), false)
	require.ErrorIs(t, err, store.ErrUnreachable)
}

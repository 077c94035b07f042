package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/language/pkg/go/transformer"
	"github.com/openfga/openfga/pkg/server"
	"github.com/openfga/openfga/pkg/storage"
	"github.com/openfga/openfga/pkg/storage/memory"
	"github.com/openfga/openfga/pkg/storage/migrate"
	"github.com/openfga/openfga/pkg/storage/sqlcommon"
	"github.com/openfga/openfga/pkg/storage/sqlite"
)

// openFGA is OpenFGA's server, called as a function, over its store in memory or
// over SQLite. The one in memory looks through all its tuples for each read, so
// that it stands small organisations only.
type openFGA struct {
	memory  bool
	server  *server.Server
	dir     string
	store   string
	model   string
	users   []string
	objects []string
}

const fgaBatch = 500 // tuples of a write

func (f *openFGA) load(ctx context.Context, o *organisation) error {
	data, err := f.datastore()
	if err != nil {
		return err
	}
	f.server, err = server.NewServerWithOpts(server.WithDatastore(data), server.WithMaxAuthorizationModelSizeInBytes(1<<20))
	if err != nil {
		return err
	}
	made, err := f.server.CreateStore(ctx, &openfgav1.CreateStoreRequest{Name: "company"})
	if err != nil {
		return err
	}
	f.store = made.GetId()
	model, err := transformer.TransformDSLToProto(fgaModel())
	if err != nil {
		return err
	}
	written, err := f.server.WriteAuthorizationModel(ctx, &openfgav1.WriteAuthorizationModelRequest{
		StoreId: f.store, SchemaVersion: model.GetSchemaVersion(), TypeDefinitions: model.GetTypeDefinitions(), Conditions: model.GetConditions(),
	})
	if err != nil {
		return err
	}
	f.model = written.GetAuthorizationModelId()
	var batch []*openfgav1.TupleKey
	flush := func() error {
		_, err := f.server.Write(ctx, &openfgav1.WriteRequest{
			StoreId: f.store, AuthorizationModelId: f.model, Writes: &openfgav1.WriteRequestWrites{TupleKeys: batch},
		})
		batch = nil
		return err
	}
	if err := o.relationships(func(r relationship) error {
		subject := r.subject + ":" + r.subjectID
		if r.subjectRelation != "" {
			subject += "#" + r.subjectRelation
		}
		if batch = append(batch, &openfgav1.TupleKey{Object: r.kind + ":" + r.id, Relation: r.relation, User: subject}); len(batch) == fgaBatch {
			return flush()
		}
		return nil
	}); err != nil {
		return err
	}
	if len(batch) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	for n := range o.users {
		f.users = append(f.users, "user:"+userName(n))
	}
	for n, r := range o.records {
		f.objects = append(f.objects, tableName(r.table)+":"+recordName(n))
	}
	return nil
}

func (f *openFGA) datastore() (_ storage.OpenFGADatastore, err error) {
	if f.memory {
		return memory.New(memory.WithMaxTuplesPerWrite(fgaBatch)), nil
	}
	if f.dir, err = os.MkdirTemp("", "ambit-peers-"); err != nil {
		return nil, err
	}
	uri := "file:" + filepath.Join(f.dir, "openfga.db")
	if err := migrate.RunMigrations(migrate.MigrationConfig{Engine: "sqlite", URI: uri, Timeout: time.Minute, PingTimeout: time.Minute}); err != nil {
		return nil, err
	}
	return sqlite.New(uri, sqlcommon.NewConfig(sqlcommon.WithMaxTuplesPerWrite(fgaBatch)))
}

func fgaModel() string {
	var b strings.Builder
	b.WriteString(`model
  schema 1.1
type user
type role
  relations
    define holder: [user, team#member]
    define direct: [user]
type team
  relations
    define member: [user]
`)
	perPrivilege(&b, "    define %[1]s: [team#member]")
	b.WriteString("type org\n  relations\n    define barred: [user]\n")
	perPrivilege(&b, "    define %[1]s_any: [role#holder]\n    define %[1]s_owns: [role#direct, role#holder]\n    define %[1]s_global: [role#holder]")
	b.WriteString("type unit\n  relations\n    define parent: [unit]\n")
	perPrivilege(&b, "    define %[1]s_local: [user, team#member]\n    define %[1]s_deep_here: [user, team#member]\n    define %[1]s_deep: %[1]s_deep_here or %[1]s_deep from parent")
	for t := range tables {
		fmt.Fprintf(&b, "type %s\n  relations\n    define org: [org]\n    define unit: [unit]\n    define owner: [user, team#member]\n    define owner_team: [team]\n", tableName(t))
		for i := range actions {
			p := privilege(t*actions + i)
			fmt.Fprintf(&b, "    define shared_%[2]v: [user, user:*, team#member]\n"+
				"    define %[2]v: (%[1]s_local from unit or %[1]s_deep from unit or %[1]s_global from org or (owner and %[1]s_owns from org) or %[1]s from owner_team or (shared_%[2]v and %[1]s_any from org)) but not barred from org\n",
				p, p.action())
		}
	}
	return b.String()
}

func (f *openFGA) check(ctx context.Context, q question) (bool, error) {
	r, err := f.server.Check(ctx, &openfgav1.CheckRequest{
		StoreId: f.store, AuthorizationModelId: f.model,
		TupleKey: &openfgav1.CheckRequestTupleKey{User: f.users[q.user], Relation: q.privilege.action().String(), Object: f.objects[q.record]},
	})
	return r.GetAllowed(), err
}

func (f *openFGA) close() error {
	if f.server != nil {
		f.server.Close()
	}
	if f.dir != "" {
		return os.RemoveAll(f.dir)
	}
	return nil
}

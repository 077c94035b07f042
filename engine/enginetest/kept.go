package enginetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// Asked is what was put to the engine and to the reference. Which fields count goes
// by what it is about.
type Asked struct {
	// About is Load, Check, CheckAll, Columns, Rights, Who, Filter, Selects, Ruling,
	// Explain, WhatTeam, of the team that owns the question's record, or Apply, in
	// which both are the engine: advanced and loaded anew.
	About string
	// Questions are one, or for CheckAll all of them, in order; none for Load.
	Questions []engine.Question `json:"-"`
	// By are the columns by which a filter's records are sorted (Filter, Selects).
	By     []string `json:",omitempty"`
	Ruling *Ruling  `json:",omitempty"`
	// Changes are made first, one changeset after another (Apply).
	Changes [][]access.Change `json:"-"`
}

// Kept is a difference that was found, with its organisation as it is: for what a
// decision table has no form for.
type Kept struct {
	Name  string `json:"-"`
	Seed  uint64
	State *access.State `json:"-"`
	Asked Asked
}

// keptFile is a Kept as a file has it.
type keptFile struct {
	Kept
	Questions []keptQuestion
	Objects   []keptObject
	Changes   [][]keptObject `json:",omitempty"`
}

// keptQuestion has the action as a number, for there are questions about none.
type keptQuestion struct {
	engine.Question
	Action uint8 `json:"action"`
}

type keptObject struct {
	Delete bool `json:",omitempty"`
	Kind   access.Kind
	Object json.RawMessage
}

func keptChanges(changes []access.Change) (out []keptObject, err error) {
	for _, c := range changes {
		b, err := json.Marshal(c.Object)
		if err != nil {
			return nil, err
		}
		out = append(out, keptObject{c.Delete, c.Object.ObjectKind(), b})
	}
	return out, nil
}

func readChanges(objects []keptObject) (out []access.Change, err error) {
	for _, o := range objects {
		read, ok := readers[o.Kind]
		if !ok {
			return nil, fmt.Errorf("%v is no object of an organisation", o.Kind)
		}
		object, err := read(o.Object)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", o.Kind, err)
		}
		out = append(out, access.Change{Delete: o.Delete, Object: object})
	}
	return out, nil
}

// Keep writes the difference into the folder, and returns its file.
func (k Kept) Keep(dir string) (string, error) {
	f := keptFile{Kept: k}
	for _, q := range k.Asked.Questions {
		f.Questions = append(f.Questions, keptQuestion{q, uint8(q.Action)})
	}
	all := []access.Change{access.Put(k.State.Environment)}
	for _, o := range Objects(k.State) {
		all = append(all, access.Put(o))
	}
	var err error
	if f.Objects, err = keptChanges(all); err != nil {
		return "", err
	}
	for _, changes := range k.Asked.Changes {
		set, err := keptChanges(changes)
		if err != nil {
			return "", err
		}
		f.Changes = append(f.Changes, set)
	}
	out, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(dir, strings.ReplaceAll(k.Name, " ", "-")+".json")
	return file, os.WriteFile(file, append(out, '\n'), 0o644)
}

// AllKept reads every difference that a folder keeps; a folder that does not exist
// keeps none.
func AllKept(dir string) ([]Kept, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	var out []Kept
	for _, file := range files {
		k, err := readKept(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, k)
	}
	return out, err
}

func readKept(file string) (Kept, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return Kept{}, err
	}
	d := json.NewDecoder(bytes.NewReader(src))
	d.DisallowUnknownFields()
	var f keptFile
	if err := d.Decode(&f); err != nil {
		return Kept{}, err
	}
	f.Name = strings.TrimSuffix(filepath.Base(file), ".json")
	f.State = access.NewState(environment)
	all, err := readChanges(f.Objects)
	if err != nil {
		return Kept{}, err
	}
	f.State.Apply(all...)
	for _, set := range f.Changes {
		changes, err := readChanges(set)
		if err != nil {
			return Kept{}, err
		}
		f.Asked.Changes = append(f.Asked.Changes, changes)
	}
	for _, q := range f.Questions {
		q.Question.Action = access.Action(q.Action)
		f.Asked.Questions = append(f.Asked.Questions, q.Question)
	}
	return f.Kept, nil
}

var readers = map[access.Kind]func([]byte) (access.Object, error){
	access.KindEnvironment:   read[access.Environment],
	access.KindBusinessUnit:  read[access.BusinessUnit],
	access.KindTable:         read[access.Table],
	access.KindRelationship:  read[access.Relationship],
	access.KindTemplate:      read[access.Template],
	access.KindPosition:      read[access.Position],
	access.KindRole:          read[access.Role],
	access.KindProfile:       read[access.Profile],
	access.KindUser:          read[access.User],
	access.KindTeam:          read[access.Team],
	access.KindMembership:    read[access.Membership],
	access.KindAssignment:    read[access.Assignment],
	access.KindProfileMember: read[access.ProfileMember],
	access.KindRecord:        read[access.Record],
	access.KindShare:         read[access.Share],
	access.KindColumnShare:   read[access.ColumnShare],
}

func read[O access.Object](src []byte) (access.Object, error) {
	var o O
	err := json.Unmarshal(src, &o)
	return o, err
}

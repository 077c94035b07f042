package mapping

import (
	"errors"
	"fmt"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/document"
)

// File is a mapping file as it was read: its shape is right, its names,
// expressions and patterns are not judged yet.
type File struct {
	doc    *document.Document
	faults document.Faults // found by Parse, reported again by Compile
	text   fileText
}

type fileText struct {
	Environments map[access.EnvironmentID]environmentText `yaml:"environments,required"`
	Rules        []ruleText                               `yaml:"rules,required"`
	Guards       Guards                                   `yaml:"guards"`
}

type environmentText struct {
	SecurityGroup document.List[gateText] `yaml:"security_group"`
	Licences      *licencesText           `yaml:"licences"`
}

type gateText struct {
	Source directory.SourceID `yaml:"source,required"`
	Group  string             `yaml:"group,required"`
	Nested Nested             `yaml:"nested"`
}

type licencesText struct {
	Accept []string `yaml:"accept"`
}

type ruleText struct {
	Name  string    `yaml:"name,required"`
	Match matchText `yaml:"match,required"`
	Team  *teamText `yaml:"team"`
	User  *userText `yaml:"user"`
}

type matchText struct {
	Source directory.SourceID `yaml:"source,required"`
	Group  *string            `yaml:"group"`
	Where  *string            `yaml:"where"`
	Users  *string            `yaml:"users"`
}

type teamText struct {
	Environment  access.EnvironmentID  `yaml:"environment,required"`
	Name         *string               `yaml:"name"`
	Type         *groupTeam            `yaml:"type"`
	Membership   access.MembershipKind `yaml:"membership"`
	Nested       bool                  `yaml:"nested"`
	BusinessUnit string                `yaml:"business_unit,required"`
	Roles        document.List[string] `yaml:"roles"`
	RoleUnit     *string               `yaml:"role_unit"`
}

type userText struct {
	Environment  access.EnvironmentID `yaml:"environment,required"`
	BusinessUnit string               `yaml:"business_unit,required"`
	Login        *string              `yaml:"login"`
	Name         *string              `yaml:"name"`
	Mail         *string              `yaml:"mail"`
	Manager      *string              `yaml:"manager"`
	Position     *string              `yaml:"position"`
	Person       *string              `yaml:"person"`
	Licence      *string              `yaml:"licence"`
	Kind         *string              `yaml:"kind"`
	AccessMode   *string              `yaml:"access_mode"`
	Application  *string              `yaml:"application"`
	Tenant       *string              `yaml:"tenant_administrator"`
}

// groupTeam is a team type that a directory group can have.
type groupTeam access.TeamType

func (t *groupTeam) UnmarshalText(b []byte) error {
	switch string(b) {
	case "security_group":
		*t = groupTeam(access.SecurityGroupTeam)
	case "m365_group":
		*t = groupTeam(access.M365GroupTeam)
	default:
		return fmt.Errorf("a directory group cannot become a team of type %q: want security_group or m365_group", b)
	}
	return nil
}

// Nested says which members of nested groups an environment security group
// admits (Rule ESG-2).
type Nested uint8

// The ways. NestedTeam is the default.
const (
	NestedTeam Nested = iota // those of nested groups that have a team in the environment
	NestedNone
	NestedAll
)

// UnmarshalText reads none, team or all.
func (n *Nested) UnmarshalText(b []byte) error {
	switch string(b) {
	case "team":
		*n = NestedTeam
	case "none":
		*n = NestedNone
	case "all":
		*n = NestedAll
	default:
		return fmt.Errorf("unknown way to count nested members %q: want none, team or all", b)
	}
	return nil
}

// Parse reads a mapping file. The error is document.Faults. When the file is YAML
// but its content is at fault, File is there too, so that Compile can report these
// faults together with its own.
func Parse(name string, src []byte) (*File, error) {
	f := &File{text: fileText{Guards: DefaultGuards()}}
	var err error
	f.doc, err = document.Decode(name, src, &f.text)
	if f.doc == nil {
		return nil, err
	}
	errors.As(err, &f.faults)
	f.faults = append(f.faults, f.text.Guards.check(f.doc)...)
	return f, f.faults.Err()
}

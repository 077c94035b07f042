package access

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// AppendJSON appends what encoding/json makes of the object. Users and
// memberships, of which a first synchronisation has hundreds of thousands, take a
// quarter of encoding/json's time.
func AppendJSON(b []byte, o Object) ([]byte, error) {
	switch o := o.(type) {
	case User:
		return o.appendJSON(b), nil
	case Membership:
		return o.appendJSON(b), nil
	}
	text, err := json.Marshal(o)
	if err != nil {
		return b, fmt.Errorf("%s %s/%s: %w", o.ObjectKind(), o.ObjectEnvironment(), o.ObjectKey(), err)
	}
	return append(b, text...), nil
}

// AppendJSONText appends a text as encoding/json does.
func AppendJSONText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // a string can always be written
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func (u User) appendJSON(b []byte) []byte {
	b = textField(b, `{"environment":`, string(u.Environment))
	b = textField(b, `,"id":`, string(u.ID))
	b = textField(b, `,"login":`, u.Login)
	b = textField(b, `,"name":`, u.Name)
	b = unlessEmpty(b, `,"mail":`, u.Mail)
	b = textField(b, `,"business_unit":`, string(u.BusinessUnit))
	b = strconv.AppendBool(append(b, `,"enabled":`...), u.Enabled)
	b = ifTrue(b, `,"licensed":true`, u.Licensed)
	b = ifTrue(b, `,"admitted":true`, u.Admitted)
	b = unlessEmpty(b, `,"manager":`, string(u.Manager))
	b = unlessEmpty(b, `,"position":`, string(u.Position))
	if u.Kind != 0 {
		b = textField(b, `,"kind":`, u.Kind.String())
	}
	if u.AccessMode != 0 {
		b = textField(b, `,"access_mode":`, u.AccessMode.String())
	}
	b = unlessEmpty(b, `,"application":`, u.Application)
	b = ifTrue(b, `,"tenant_administrator":true`, u.TenantAdministrator)
	b = unlessEmpty(b, `,"person":`, u.Person)
	b = textField(b, `,"managed_by":`, string(u.ManagedBy))
	return u.Origin.appendField(b)
}

func (m Membership) appendJSON(b []byte) []byte {
	b = textField(b, `{"environment":`, string(m.Environment))
	b = textField(b, `,"team":`, string(m.Team))
	b = textField(b, `,"user":`, string(m.User))
	b = textField(b, `,"managed_by":`, string(m.ManagedBy))
	return m.Origin.appendField(b)
}

// appendField ends an object with its origin, if it has one.
func (o Origin) appendField(b []byte) []byte {
	if o == (Origin{}) {
		return append(b, '}')
	}
	b = append(b, `,"origin":{`...)
	start := len(b)
	b = unlessEmpty(b, `,"rule":`, o.Rule)
	b = unlessEmpty(b, `,"source":`, o.Source)
	b = unlessEmpty(b, `,"object":`, o.Object)
	b = unlessEmpty(b, `,"path":`, o.Path)
	return append(append(b[:start], b[start+1:]...), '}', '}') // without the first comma
}

func textField(b []byte, name, value string) []byte { return AppendJSONText(append(b, name...), value) }

func unlessEmpty(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return textField(b, name, value)
}

func ifTrue(b []byte, field string, value bool) []byte {
	if !value {
		return b
	}
	return append(b, field...)
}

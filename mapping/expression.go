package mapping

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/ambit-iam/ambit/directory"
)

// The limits of an expression (Rule SEC-6).
const (
	maxExpression = 2000    // characters
	maxCost       = 100_000 // CEL's units for one evaluation, about 1 ms
)

var (
	userType   = types.NewObjectType("ambit.User")
	groupType  = types.NewObjectType("ambit.Group")
	valuesType = types.NewObjectType("ambit.Values")
)

// subject is a user or group as expressions see it.
type subject struct {
	directory.Object
	celType *types.Type
}

func (s *subject) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a %s is no value of its own: name one of its attributes", s.Kind)
}

func (s *subject) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a %s cannot be converted to %s", s.Kind, t.TypeName())
}

func (s *subject) Equal(other ref.Val) ref.Val {
	o, ok := other.(*subject)
	return types.Bool(ok && o.ID == s.ID && o.Kind == s.Kind)
}
func (s *subject) Type() ref.Type { return s.celType }
func (s *subject) Value() any     { return s }

// values is a subject whose attributes are lists.
type values struct{ *subject }

func (v values) Type() ref.Type { return valuesType }
func (v values) Value() any     { return v }

// provider tells CEL the types above. Every attribute is a field: which ones a
// source has is not known when rules are read.
type provider struct{ types.Provider }

func (p provider) FindStructType(name string) (*types.Type, bool) {
	for _, t := range [...]*types.Type{userType, groupType, valuesType} {
		if t.TypeName() == name {
			return types.NewTypeTypeWithParam(t), true
		}
	}
	return p.Provider.FindStructType(name)
}

func (p provider) FindStructFieldType(structType, name string) (*types.FieldType, bool) {
	switch structType {
	case userType.TypeName(), groupType.TypeName():
		if f := fieldOf(structType, name); f != nil {
			return f, true
		}
		return &types.FieldType{
			Type:    types.StringType,
			IsSet:   func(s any) bool { return s.(*subject).Get(name) != "" },
			GetFrom: func(s any) (any, error) { return s.(*subject).Get(name), nil },
		}, true
	case valuesType.TypeName():
		return &types.FieldType{
			Type:    types.NewListType(types.StringType),
			IsSet:   func(s any) bool { return len(s.(values).Attributes[name]) > 0 },
			GetFrom: func(s any) (any, error) { return s.(values).Attributes[name], nil },
		}, true
	}
	return p.Provider.FindStructFieldType(structType, name)
}

// fieldOf returns the field of a user or group that is more than an attribute's
// first value, or nil.
func fieldOf(structType, name string) *types.FieldType {
	field := func(t *types.Type, get func(*subject) any) *types.FieldType {
		return &types.FieldType{
			Type:    t,
			IsSet:   func(any) bool { return true },
			GetFrom: func(s any) (any, error) { return get(s.(*subject)), nil },
		}
	}
	switch {
	case name == "id":
		return field(types.StringType, func(s *subject) any { return string(s.ID) })
	case name == "dn":
		return field(types.StringType, func(s *subject) any { return s.DN })
	case name == "name":
		return field(types.StringType, func(s *subject) any { return s.Name() })
	case name == "values":
		return field(valuesType, func(s *subject) any { return values{s} })
	case name == "enabled" && structType == userType.TypeName():
		return field(types.BoolType, func(s *subject) any { return s.Enabled() })
	case name == "guest" && structType == userType.TypeName():
		return field(types.BoolType, func(s *subject) any { return s.Guest() })
	}
	return nil
}

// activation is what one evaluation sees. It is reused from one to the next.
type activation struct {
	subject  *subject
	captures []string // the whole name, then what each wildcard took
}

func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "user", "group":
		return a.subject, true
	case "capture":
		return a.captures, true
	}
	return nil, false
}

func (a *activation) Parent() cel.Activation { return nil }

// environments holds the CEL environment of each kind of rule.
type environments struct{ user, group, captures *cel.Env }

func newEnvironments() (environments, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return environments{}, err
	}
	base, err := cel.NewEnv(
		cel.CustomTypeProvider(provider{registry}),
		cel.CustomTypeAdapter(registry),
		cel.EnableIdentifierEscapeSyntax(),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ParserRecursionLimit(50),
		cel.ExpressionNodeLimit(1000),
		cel.RegexProgramSizeLimit(1000),
		cel.ASTValidators(cel.ValidateRegexLiterals()),
		ext.Strings(),
	)
	if err != nil {
		return environments{}, err
	}
	var e environments
	if e.user, err = base.Extend(cel.Variable("user", userType)); err != nil {
		return e, err
	}
	if e.group, err = base.Extend(cel.Variable("group", groupType)); err != nil {
		return e, err
	}
	e.captures, err = e.group.Extend(cel.Variable("capture", cel.ListType(cel.StringType)))
	return e, err
}

// expression is one compiled CEL expression.
type expression struct {
	program    cel.Program
	attributes []string // of user or group, that it names
	constant   bool     // it names no variable
}

// expressionFault is what is wrong in an expression, at a line and column of its
// own text, from 1.
type expressionFault struct {
	line, column  int
	problem, hint string
}

// compile checks an expression. wildcards is how many captures there are besides
// the whole name, or -1 for none at all.
func compile(env *cel.Env, text string, want *types.Type, wildcards int) (*expression, []expressionFault) {
	ast, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		var faults []expressionFault
		for _, e := range issues.Errors() {
			faults = append(faults, expressionFault{
				max(e.Location.Line(), 1), max(e.Location.Column()+1, 1), plain(e.Message), hintFor(text, e.Message),
			})
		}
		return nil, faults
	}
	e := &expression{constant: true}
	var faults []expressionFault
	native := ast.NativeRep()
	if got := ast.OutputType(); !got.IsExactType(want) {
		hint := ""
		if want == types.StringType && (got == types.IntType || got == types.BoolType || got == types.DoubleType) {
			hint = "write string(…) around it"
		}
		faults = append(faults, expressionFault{1, 1, fmt.Sprintf("the expression gives %s, want %s", celName(got), celName(want)), hint})
	}
	celast.PostOrderVisit(native.Expr(), celast.NewExprVisitor(func(x celast.Expr) {
		switch x.Kind() {
		case celast.IdentKind:
			switch x.AsIdent() {
			case "user", "group", "capture":
				e.constant = false
			}
		case celast.SelectKind:
			operand := x.AsSelect().Operand()
			switch name := x.AsSelect().FieldName(); native.GetType(operand.ID()).TypeName() {
			case userType.TypeName(), groupType.TypeName():
				if fieldOf(native.GetType(operand.ID()).TypeName(), name) == nil {
					e.attributes = append(e.attributes, name)
				}
			case valuesType.TypeName():
				e.attributes = append(e.attributes, name)
			}
		case celast.CallKind:
			call := x.AsCall()
			if call.FunctionName() == "dyn" {
				at := native.SourceInfo().GetStartLocation(x.ID())
				faults = append(faults, expressionFault{at.Line(), at.Column() + 1, "dyn() is not supported", "name the attribute itself"})
			}
			if call.FunctionName() != operators.Index || call.Args()[0].Kind() != celast.IdentKind || call.Args()[0].AsIdent() != "capture" {
				return
			}
			index := call.Args()[1]
			if index.Kind() != celast.LiteralKind {
				return
			}
			if n, ok := index.AsLiteral().(types.Int); ok && (n < 0 || int(n) > wildcards) {
				at := native.SourceInfo().GetStartLocation(index.ID())
				faults = append(faults, expressionFault{
					at.Line(), at.Column() + 1,
					fmt.Sprintf("capture[%d] does not exist: the pattern has %d of *", n, wildcards),
					"capture[1] is what the first * took, capture[0] the whole",
				})
			}
		}
	}))
	if len(faults) > 0 {
		return nil, faults
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, []expressionFault{{1, 1, plain(err.Error()), ""}}
	}
	e.program = program
	return e, nil
}

// plain is the part of a CEL message that helps a person.
func plain(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	message, _, _ = strings.Cut(message, " expecting ")
	return strings.ReplaceAll(message, "mismatched input '<EOF>'", "the expression ends too early")
}

// hintFor helps with what people write first.
func hintFor(text, message string) string {
	switch {
	case strings.Contains(text, "capture."):
		return "what the first * took is capture[1]"
	case strings.Contains(message, "found no matching overload for '_=="), strings.Contains(message, "found no matching overload for '_!="):
		return "an attribute is text: compare it with \"…\""
	case strings.Contains(text, " and ") || strings.Contains(text, " or ") || strings.Contains(text, " not "):
		return "CEL writes && for and, || for or, ! for not"
	case strings.Contains(message, "token recognition error at: '= "):
		return "CEL compares with =="
	case strings.Contains(message, "undeclared reference"):
		return "an expression knows user (in rules with users:), group and capture (in rules with group: or where:); text stands in \"quotes\""
	}
	return ""
}

func celName(t *types.Type) string {
	switch t {
	case types.BoolType:
		return "true or false"
	case types.StringType:
		return "text"
	}
	return t.String()
}

func (e *expression) bool(a *activation) (bool, error) {
	v, _, err := e.program.Eval(a)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, errors.New("the expression gave no true or false")
	}
	return bool(b), nil
}

func (e *expression) text(a *activation) (string, error) {
	v, _, err := e.program.Eval(a)
	if err != nil {
		return "", err
	}
	s, ok := v.(types.String)
	if !ok {
		return "", errors.New("the expression gave no text")
	}
	return string(s), nil
}

// template is text with holes: "Sales {{ capture[1] }}".
type template struct {
	parts []part
}

// part is literal text, or a hole if expression is set.
type part struct {
	literal    string
	expression *expression
}

// parseTemplate splits text at its holes and compiles them.
func parseTemplate(env *cel.Env, text string, wildcards int) (*template, []expressionFault) {
	t := &template{}
	var faults []expressionFault
	rest, at := text, 0
	for {
		open := strings.Index(rest, "{{")
		if open < 0 {
			break
		}
		end := closing(rest[open+2:])
		if end < 0 {
			line, column := position(text, at+open)
			return nil, append(faults, expressionFault{line, column, `"{{" without "}}"`, ""})
		}
		if open > 0 {
			t.parts = append(t.parts, part{literal: rest[:open]})
		}
		hole := rest[open+2 : open+2+end]
		line, column := position(text, at+open+2)
		e, holeFaults := compile(env, hole, types.StringType, wildcards)
		for _, f := range holeFaults {
			if f.line == 1 {
				f.column += column - 1
			}
			f.line += line - 1
			faults = append(faults, f)
		}
		t.parts = append(t.parts, part{expression: e})
		at += open + 2 + end + 2
		rest = text[at:]
	}
	if rest != "" {
		t.parts = append(t.parts, part{literal: rest})
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return t, nil
}

// closing finds the "}}" that ends a hole, beyond any text in quotes.
func closing(s string) int {
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		case strings.HasPrefix(s[i:], "}}"):
			return i
		}
	}
	return -1
}

// position turns a byte offset into a line and column, from 1.
func position(text string, offset int) (line, column int) {
	before := text[:offset]
	line = 1 + strings.Count(before, "\n")
	return line, len([]rune(before[strings.LastIndexByte(before, '\n')+1:])) + 1
}

// literal returns the text of a template without holes.
func (t *template) literal() (string, bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) == 1 && t.parts[0].expression == nil:
		return t.parts[0].literal, true
	}
	return "", false
}

func (t *template) text(a *activation) (string, error) {
	if len(t.parts) == 1 && t.parts[0].expression != nil {
		return t.parts[0].expression.text(a)
	}
	if s, ok := t.literal(); ok {
		return s, nil
	}
	var b strings.Builder
	for _, p := range t.parts {
		if p.expression == nil {
			b.WriteString(p.literal)
			continue
		}
		s, err := p.expression.text(a)
		if err != nil {
			return "", err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

package topology

import (
	"encoding/json"
	"reflect"

	"github.com/invopop/jsonschema"
)

// Schema is the JSON Schema (draft 2020-12) of a lab file, made from File.
func Schema() ([]byte, error) {
	r := jsonschema.Reflector{
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		Anonymous:                  true, // it has no address
		ExpandedStruct:             true,
		Namer:                      definition,
	}
	s := r.Reflect(File{})
	s.Title = "labctl lab file"
	s.Description = "A measurement lab: its networks and its machines."
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// definition names a part of the file as users know it.
func definition(t reflect.Type) string {
	return map[reflect.Type]string{
		reflect.TypeFor[ImageSpec]():   "image",
		reflect.TypeFor[NetworkSpec](): "network",
		reflect.TypeFor[Impairment]():  "impairment",
		reflect.TypeFor[NodeSpec]():    "node",
		reflect.TypeFor[NICSpec]():     "nic",
		reflect.TypeFor[Passthrough](): "passthrough",
		reflect.TypeFor[MirrorSpec]():  "mirror",
	}[t]
}

// JSONSchemaExtend says what names look like, and that a network may be left to its defaults.
func (File) JSONSchemaExtend(s *jsonschema.Schema) {
	property(s, "name").Pattern = namePattern.String()
	property(s, "images").PropertyNames = &jsonschema.Schema{Pattern: namePattern.String()}
	networks, nodes := property(s, "networks"), property(s, "nodes")
	networks.PropertyNames = &jsonschema.Schema{Pattern: namePattern.String()}
	networks.AdditionalProperties = &jsonschema.Schema{OneOf: []*jsonschema.Schema{networks.AdditionalProperties, {Type: "null"}}}
	nodes.PropertyNames = &jsonschema.Schema{Pattern: namePattern.String()}
	nodes.MinProperties = new(uint64(1))
}

// JSONSchemaExtend says that an image is a ready one or a recipe's.
func (ImageSpec) JSONSchemaExtend(s *jsonschema.Schema) {
	s.OneOf = []*jsonschema.Schema{{Required: []string{"path", "guest"}}, {Required: []string{"recipe"}}}
}

// JSONSchemaExtend says that a NIC is on a network or receives a mirror.
func (NICSpec) JSONSchemaExtend(s *jsonschema.Schema) {
	s.OneOf = []*jsonschema.Schema{{Required: []string{"network"}}, {Required: []string{"mirror"}}}
}

// JSONSchemaExtend says what sides are called.
func (NetworkSpec) JSONSchemaExtend(s *jsonschema.Schema) {
	property(s, "sides").Items.Pattern = namePattern.String()
}

// JSONSchemaExtend allows the short form, a PCI address.
func (Passthrough) JSONSchemaExtend(s *jsonschema.Schema) { orString(s) }

// JSONSchemaExtend allows the short form, a node's name.
func (MirrorSpec) JSONSchemaExtend(s *jsonschema.Schema) { orString(s) }

func property(s *jsonschema.Schema, key string) *jsonschema.Schema {
	p, _ := s.Properties.Get(key)
	return p
}

func orString(s *jsonschema.Schema) {
	object := *s
	*s = jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string"}, &object}}
}

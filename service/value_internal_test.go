package service

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/typepb"

	"github.com/goapi-dev/goapi/registry"
)

// The messages of the service that was recorded, as plain types.
type (
	HelloRequest struct {
		Name  string   `json:"name,omitempty"`
		Age   int32    `json:"age,omitempty"`
		Tags  []string `json:"tags,omitempty"`
		Inner *Inner   `json:"inner,omitempty"`
		Loud  bool     `json:"loud,omitempty"`
		Big   int64    `json:"big,omitempty"`
	}
	Inner struct {
		FirstName string  `json:"first_name,omitempty"`
		Score     float64 `json:"score,omitempty"`
	}
	Base  struct{ ID string }
	State int
	All   struct {
		Base

		Data    []byte
		When    time.Time
		State   State
		Items   []*Inner
		Map     map[string]Inner
		Any     any
		Raw     json.RawMessage
		Skipped string `json:"-"`
		Deep    struct {
			Deeper struct{ Deepest struct{ X int } }
		}
		hidden int
	}
)

func TestValueOf(t *testing.T) {
	tests := []struct {
		name string
		typ  reflect.Type
		want string // as a registry has it
	}{
		{"as recorded", reflect.TypeFor[*HelloRequest](), `{"name":"HelloRequest","type":"HelloRequest","values":[
			{"name":"name","type":"string","values":null},{"name":"age","type":"int32","values":null},
			{"name":"tags","type":"[]string","values":null},
			{"name":"inner","type":"Inner","values":[
				{"name":"first_name","type":"string","values":null},{"name":"score","type":"float64","values":null}]},
			{"name":"loud","type":"bool","values":null},{"name":"big","type":"int64","values":null}]}`},
		{"all kinds", reflect.TypeFor[*All](), `{"name":"All","type":"All","values":[
			{"name":"ID","type":"string"},{"name":"Data","type":"[]uint8"},{"name":"When","type":"string"},
			{"name":"State","type":"int"},{"name":"Items","type":"[]Inner"},{"name":"Map","type":""},{"name":"Any","type":""},
			{"name":"Raw","type":"RawMessage"},
			{"name":"Deep","type":"","values":[{"name":"Deeper","type":""}]}]}`},
		{"no struct", reflect.TypeFor[*map[string]string](), `{"name":"","type":""}`},
		{"proto", reflect.TypeFor[*typepb.Enum](), `{"name":"Enum","type":"Enum","values":[
			{"name":"name","type":"string"},{"name":"enumvalue","type":"[]EnumValue"},{"name":"options","type":"[]Option"},
			{"name":"source_context","type":"SourceContext"},{"name":"syntax","type":"Syntax"},{"name":"edition","type":"string"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want registry.Value
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, valueOf(tt.typ)); diff != "" {
				t.Errorf("valueOf (-want +got):\n%s", diff)
			}
		})
	}
}

// A type that holds itself is described as deep as any other.
func TestValueOfItself(t *testing.T) {
	type list struct {
		Next *list `json:"next"`
	}
	v := valueOf(reflect.TypeFor[*list]())
	depth := 0
	for ; len(v.Values) > 0; v = v.Values[0] {
		depth++
	}
	if depth != maxDepth-1 {
		t.Errorf("depth = %d, want %d", depth, maxDepth-1)
	}
}

var _ = All{hidden: 1}.hidden

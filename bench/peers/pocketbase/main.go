// pocketbase is PocketBase's own program with one more command, which fills it: there is no other way to give it a million rows in
// minutes.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/pocketbase/pocketbase"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/types"
	"github.com/spf13/cobra"
)

// collection is the name of what the assets are in.
const collection = "assets"

func main() {
	app := pocketbase.New()
	app.RootCmd.AddCommand(&cobra.Command{
		Use:   "fill PASSWORD OWNER...",
		Short: "makes users of these names, and assets of stdin's lines: [owner's place, value of each column ...]",
		Args:  cobra.MinimumNArgs(2),
		Run: func(_ *cobra.Command, args []string) {
			if err := fill(app, os.Stdin, args[0], args[1:]); err != nil {
				log.Fatal(err) // PocketBase itself would exit with 0
			}
		},
	})
	if err := app.Start(); err != nil {
		log.Fatal(err)
	}
}

// columns are what each line has, in this order, behind its owner.
var columns = []string{"sha256", "originalName", "fileType", "mimeType", "fileSize", "version", "tags", "category", "created", "updated"}

// fill makes users, the collection and its rows, and the indexes last.
func fill(app core.App, rows io.Reader, password string, names []string) error {
	owners, err := users(app, password, names)
	if err != nil {
		return fmt.Errorf("make users: %w", err)
	}
	assets := core.NewBaseCollection(collection)
	userCollection, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return err
	}
	assets.ListRule = types.Pointer("owner = @request.auth.id")
	assets.Fields.Add(
		&core.RelationField{Name: "owner", CollectionId: userCollection.Id, MaxSelect: 1, Required: true},
		&core.TextField{Name: "sha256"},
		&core.TextField{Name: "originalName"},
		&core.SelectField{Name: "fileType", Values: []string{"IMAGE", "AUDIO"}, MaxSelect: 1},
		&core.TextField{Name: "mimeType"},
		&core.NumberField{Name: "fileSize", OnlyInt: true},
		&core.NumberField{Name: "version", OnlyInt: true},
		&core.JSONField{Name: "tags"},
		&core.TextField{Name: "category"},
		&core.JSONField{Name: "metadata"},
		&core.AutodateField{Name: "created", OnCreate: true},
		&core.AutodateField{Name: "updated", OnCreate: true, OnUpdate: true},
		&core.DateField{Name: "deleted"},
	)
	if err := app.Save(assets); err != nil {
		return fmt.Errorf("make the collection: %w", err)
	}
	if err := app.RunInTransaction(func(tx core.App) error { return insert(tx, rows, owners) }); err != nil {
		return fmt.Errorf("insert rows: %w", err)
	}
	for _, index := range []string{"created", "updated", "originalName", "fileSize", "sha256"} {
		assets.AddIndex("assets_"+index, false, "owner, "+index+", id", "")
	}
	assets.AddIndex("assets_category", false, "owner, category, created, id", "")
	if err := app.Save(assets); err != nil {
		return fmt.Errorf("make the indexes: %w", err)
	}
	_, err = app.DB().NewQuery("analyze").Execute()
	return err
}

// users makes users, and returns their ids.
func users(app core.App, password string, names []string) (ids []string, err error) {
	all, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		user := core.NewRecord(all)
		user.SetEmail(name + "@example.com")
		user.SetPassword(password)
		if err := app.Save(user); err != nil {
			return nil, err
		}
		ids = append(ids, user.Id)
	}
	return ids, nil
}

// insert writes a row for each line.
func insert(app core.App, rows io.Reader, owners []string) error {
	names, places := []string{"id", "owner"}, []string{"{:id}", "{:owner}"}
	for _, column := range columns {
		names, places = append(names, column), append(places, "{:"+column+"}")
	}
	statement := app.DB().NewQuery(fmt.Sprintf("insert into {{%s}} ([[%s]]) values (%s)", collection, strings.Join(names, "]], [["), strings.Join(places, ", "))).Prepare()
	defer statement.Close()
	for lines := json.NewDecoder(rows); ; {
		var line []any
		if err := lines.Decode(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		owner, ok := line[0].(float64)
		if !ok || len(line) != 1+len(columns) {
			return fmt.Errorf("not a row: %v", line)
		}
		values := map[string]any{"id": core.GenerateDefaultRandomId(), "owner": owners[int(owner)]}
		for i, column := range columns {
			value := line[1+i]
			if list, ok := value.([]any); ok {
				text, err := json.Marshal(list)
				if err != nil {
					return err
				}
				value = string(text)
			}
			values[column] = value
		}
		if _, err := statement.Bind(values).Execute(); err != nil {
			return err
		}
	}
}

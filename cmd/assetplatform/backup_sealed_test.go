package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"filippo.io/age"

	"github.com/assetplatform/assetplatform/internal/backup"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/test/services"
)

// What a restore overwrites is encrypted like what it restores, also where only the identity was given.
func TestSafetySetForTheIdentity(t *testing.T) {
	t.Parallel()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	recipient := identity.Recipient().String()
	destination := services.SharedS3(t).Bucket(t)
	env := append(environment(t), "PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin",
		"BACKUP_BUCKET_NAME="+destination.Name, "BACKUP_ENDPOINT="+destination.Endpoint, "BACKUP_ACCESS_KEY="+destination.AccessKey, "BACKUP_SECRET_KEY="+destination.SecretKey)
	run := func(into any, variable string, arguments ...string) {
		t.Helper()
		if err := json.Unmarshal(inPod(t, append(slices.Clone(env), variable), append([]string{"backup", "-o", "json"}, arguments...)...), into); err != nil {
			t.Fatal(err)
		}
	}
	server := startServer(t, env...)
	server.await(config.PathReady, http.StatusOK)
	server.register("alice")
	server.stop()
	server.exit()
	var set backup.Set
	run(&set, "BACKUP_RECIPIENTS="+recipient, "create")
	var done backup.Restored
	run(&done, "BACKUP_IDENTITY="+identity.String(), "restore", "--set", set.ID, "--platform=games/studio", "--overwrite=studio")
	var l backup.Listing
	run(&l, "BACKUP_IDENTITY=", "list")
	i := slices.IndexFunc(l.Sets, func(s backup.Set) bool { return s.ID == done.SafetySet })
	if i < 0 || !l.Sets[i].Safety || !slices.Equal(l.Sets[i].Readers, []string{recipient}) {
		t.Errorf("%+v of %+v", done, l.Sets)
	}
}

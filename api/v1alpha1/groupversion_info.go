// Package v1alpha1 defines the assetplatform.io/v1alpha1 API: the AssetPlatform
// kind, its condition types and their reasons. It imports apimachinery only.
//
// +kubebuilder:object:generate=true
// +groupName=assetplatform.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of the kinds in this package.
var GroupVersion = schema.GroupVersion{Group: "assetplatform.io", Version: "v1alpha1"}

var schemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &AssetPlatform{}, &AssetPlatformList{}, &AssetBackup{}, &AssetBackupList{}, &AssetRestore{}, &AssetRestoreList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
})

// AddToScheme registers the kinds of this package.
var AddToScheme = schemeBuilder.AddToScheme

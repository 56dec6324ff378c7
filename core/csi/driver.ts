// The name under which Kubernetes knows the driver: equal to that of the CSIDriver object.
export const DRIVER = "csi.weir.storage";

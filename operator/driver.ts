// The names under which the operator is known: to the API server's field ownership, and on the
// objects it marks.

/** Of the operator's parts of a status (server-side apply), and of its patches. */
export const OPERATOR_MANAGER = "weir-operator";

export const ANNOTATIONS = {
  /** The CSI service made this object and may take it back when its making fails for good. */
  provisionedBy: "weir.storage/provisioned-by",
  /**
   * On a detached Volume: the Snapshot for which a node may open it. Nobody may attach the volume
   * meanwhile, because the opening node would fence the attached one.
   */
  openedFor: "weir.storage/opened-for-snapshot",
} as const;

/** On the Snapshot that stands between a Volume and its clone: the clone's name. */
export const CLONE_LABEL = "weir.storage/clone";
/** On a PersistentVolume that the operator made: its Volume's name. */
export const VOLUME_LABEL = "weir.storage/volume";

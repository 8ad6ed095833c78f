from monai_fpt.monailabel.app import FPTApp  # noqa: F401  # the server finds the class by its name
